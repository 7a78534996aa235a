-- Every line of a block accounted for, and the span and zones of its clock.
SELECT
    count(*) AS lines,
    count(family) FILTER (family <> 'undecodable') AS recognized,
    count(*) FILTER (family IS NULL) AS unrecognized,
    count(*) FILTER (family = 'undecodable') AS undecodable,
    min(coalesce(slog_at, wrapper_at)) AS first_at,
    max(coalesce(slog_at, wrapper_at)) AS last_at,
    list(DISTINCT offset_s) FILTER (offset_s IS NOT NULL) AS offsets_s
FROM block
