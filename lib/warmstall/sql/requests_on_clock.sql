-- Requests on one clock. An access line is written when its request ends, in local time and whole
-- seconds; a neighbouring line with milliseconds narrows that second, a wrapper's stamp replaces it.
-- Row by row and in no order, so that it can be read as a stream (`judging/requests.py` does the rest).
WITH offsets AS (
    -- A wrapper in UTC beside a local stamp tells the zone too, to the quarter of an hour.
    SELECT source, mode(round(epoch(ended_local - wrapper_at) / 900) * 900)::INTEGER AS from_wrapper
    FROM access_lines WHERE wrapper_at IS NOT NULL GROUP BY source
), from_slog AS (
    SELECT source, min_by(offset_s, line) AS first_offset FROM access_lines WHERE offset_s IS NOT NULL GROUP BY source
), twins AS (
    -- The zone of the file in which the same server wrote its events.
    SELECT unnest($twin_sources::VARCHAR[]) AS source, unnest($twin_offsets::INTEGER[]) AS from_twin
), placed AS (
    SELECT
        access_lines.* EXCLUDE (ended_local),
        coalesce(access_lines.offset_s, first_offset, from_wrapper, from_twin, zones.offset_s, 0) AS zone_s,
        CASE WHEN coalesce(access_lines.offset_s, first_offset) IS NOT NULL THEN 'slog'
             WHEN from_wrapper IS NOT NULL THEN 'wrapper'
             WHEN from_twin IS NOT NULL THEN 'twin' ELSE '' END AS zone_from,
        ended_local - to_seconds(zone_s) AS by_last_offset
    FROM access_lines
        LEFT JOIN from_slog USING (source) LEFT JOIN offsets USING (source) LEFT JOIN twins USING (source)
        LEFT JOIN zones USING (host)
), summer_time AS (
    -- When the clocks change, the first lines after it still carry the offset of the line before: an hour
    -- that puts them between their neighbours again is taken for that.
    SELECT
        * EXCLUDE (by_last_offset),
        CASE
            WHEN by_last_offset < before_at - INTERVAL 30 MINUTE
             AND by_last_offset + INTERVAL 1 HOUR BETWEEN before_at - INTERVAL 1 MINUTE
                 AND coalesce(after_at, before_at + INTERVAL 1 DAY) + INTERVAL 1 MINUTE
            THEN by_last_offset + INTERVAL 1 HOUR
            WHEN by_last_offset > after_at + INTERVAL 30 MINUTE
             AND by_last_offset - INTERVAL 1 HOUR BETWEEN before_at - INTERVAL 1 MINUTE AND after_at + INTERVAL 1 MINUTE
            THEN by_last_offset - INTERVAL 1 HOUR
            ELSE by_last_offset
        END AS second_at
    FROM placed
), seconds AS (
    SELECT
        *,
        CASE WHEN wrapper_at BETWEEN second_at - INTERVAL 1 SECOND AND second_at + INTERVAL 2 SECOND THEN wrapper_at
             WHEN before_at > second_at AND before_at <= second_at + INTERVAL 1 SECOND THEN before_at
             ELSE second_at END AS ended_from,
        CASE WHEN wrapper_at BETWEEN second_at - INTERVAL 1 SECOND AND second_at + INTERVAL 2 SECOND THEN wrapper_at
             WHEN after_at >= second_at AND after_at < second_at + INTERVAL 1 SECOND THEN after_at
             ELSE second_at + INTERVAL 1 SECOND END AS ended_to
    FROM summer_time
)
SELECT
    host, source, line, status, client, method, path, zone_s, zone_from, wall_s, ended_from, ended_to
FROM seconds
