-- Events as they were ingested; of most, the fields still stand in the line. Where a zone is told, the line begins with
-- the time that `at` tells: it is written again as slog does it.
SELECT
    * EXCLUDE (anchor, whole_text, offset_s, time)
    REPLACE (
        CASE WHEN fields IS NULL AND anchor IS NOT NULL THEN fields_in(anchor, time || coalesce(whole_text, text)) ELSE fields END
        AS fields,
        CASE WHEN offset_s IS NULL THEN text ELSE left(time || text, 2000) END AS text
    )
FROM (
    SELECT
        *,
        CASE
            WHEN offset_s IS NULL THEN ''
            ELSE 'time=' || strftime("at" + to_seconds(offset_s), '%Y-%m-%dT%H:%M:%S.%g') || CASE
                WHEN offset_s = 0 THEN 'Z'
                ELSE printf('%s%02d:%02d', if(offset_s < 0, '-', '+'), abs(offset_s) // 3600, abs(offset_s) // 60 % 60)
            END || ' '
        END AS time
    FROM {parts}
)
