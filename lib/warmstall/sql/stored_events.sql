-- Events as they were ingested; of most, the fields still stand in the line.
SELECT
    * EXCLUDE (anchor, whole_text)
    REPLACE (
        CASE WHEN fields IS NULL AND anchor IS NOT NULL THEN fields_in(anchor, coalesce(whole_text, text)) ELSE fields END
        AS fields
    )
FROM {parts}
