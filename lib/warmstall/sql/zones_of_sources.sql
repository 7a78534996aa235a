-- What tells the zone of the access lines of each log, in seconds east of UTC: the first record with an offset. A wrapper
-- in UTC beside a local stamp tells it too, to the quarter of an hour.
SELECT
    source,
    min_by(offset_s, line) FILTER (offset_s IS NOT NULL) AS from_slog,
    (mode(round(epoch(ended_local - wrapper_at) / 900) * 900) FILTER (wrapper_at IS NOT NULL))::INTEGER AS from_wrapper
FROM access_lines GROUP BY source
