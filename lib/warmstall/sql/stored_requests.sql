-- Requests as they were ingested. A line that is laid out as GIN does it has no text of its own: it is written again
-- from its columns, the latency as Go prints a Duration.
SELECT
    * EXCLUDE (wall_ns, wall)
    REPLACE (
        coalesce(
            text,
            '[GIN] ' || strftime(ended_local, '%Y/%m/%d - %H:%M:%S') || ' | ' || status || ' | ' || lpad(wall, 13, ' ')
            || ' | ' || lpad(client, 15, ' ') || ' | ' || rpad(method, 7, ' ') || '  "' || path || '"'
        ) AS text
    )
FROM (
    SELECT
        *,
        CASE
            WHEN wall_ns >= 60_000_000_000 THEN printf('%dm%ds', wall_ns // 60_000_000_000, wall_ns // 1_000_000_000 % 60)
            WHEN wall_ns >= 1_000_000_000
            THEN regexp_replace(printf('%d.%09d', wall_ns // 1_000_000_000, wall_ns % 1_000_000_000), '\.?0+$', '') || 's'
            WHEN wall_ns >= 1_000_000
            THEN regexp_replace(printf('%d.%06d', wall_ns // 1_000_000, wall_ns % 1_000_000), '\.?0+$', '') || 'ms'
            ELSE regexp_replace(printf('%d.%03d', wall_ns // 1000, wall_ns % 1000), '\.?0+$', '') || 'µs'
        END AS wall
    FROM (SELECT *, round(wall_s * 1e9)::BIGINT AS wall_ns FROM {parts})
)
