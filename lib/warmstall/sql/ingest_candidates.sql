-- Lines of a block that hold the anchor of some event, with the nearest times before and after them.
WITH candidates AS (
    SELECT line, left(text, 20000) AS text, slog_at, wrapper_at, family
    FROM block
    WHERE regexp_matches(text, $anchors)
), before AS (
    SELECT candidates.*, stamps.stamp_at AS before_at
    FROM candidates ASOF LEFT JOIN stamps ON candidates.line >= stamps.line
)
SELECT before.line, text, slog_at, wrapper_at, before_at, stamps.stamp_at AS after_at
FROM before ASOF LEFT JOIN stamps ON before.line < stamps.line
ORDER BY before.line
