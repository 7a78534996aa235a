-- The access lines of a block. GIN writes one when a request ENDS: local time, no zone, whole seconds.
-- The fields are split at '|'; the path is what is left, because it may hold a '|' itself.
WITH split AS (
    SELECT line, text, wrapper_at, string_split(substr(text, strpos(text, '[GIN] 2') + 6), '|') AS part
    FROM block
    WHERE contains(text, '[GIN] 2') AND family = 'access'
), named AS (
    SELECT
        line,
        text,
        wrapper_at,
        try_strptime(trim(part[1]), '%Y/%m/%d - %H:%M:%S') AS ended_local,
        trim(part[2]) AS status,
        trim(part[3]) AS wall,
        coalesce(trim(part[4]), '') AS client,
        coalesce(trim(array_to_string(part[5:], '|')), '') AS target
    FROM split
), timed AS (
    -- Go's Duration: 560.083µs, 17.1ms, 4.2s, 1m2s, 1h2m3s. Go prints no unit but µs that starts with
    -- something other than m, n or a digit, so a micro sign broken by an encoding is still one.
    SELECT
        *,
        CASE
            WHEN wall ~ '^[\d.]+s$' THEN try_cast(wall[:-2] AS DOUBLE)
            WHEN wall ~ '^[\d.]+ms$' THEN try_cast(wall[:-3] AS DOUBLE) / 1e3
            WHEN wall ~ '^[\d.]+ns$' THEN try_cast(wall[:-3] AS DOUBLE) / 1e9
            WHEN wall ~ '^(\d+h)?(\d+m)?([\d.]+s)?$' AND wall <> '' THEN
                3600 * coalesce(try_cast(regexp_extract(wall, '(\d+)h', 1) AS DOUBLE), 0)
                + 60 * coalesce(try_cast(regexp_extract(wall, '(\d+)m', 1) AS DOUBLE), 0)
                + coalesce(try_cast(regexp_extract(wall, '([\d.]+)s', 1) AS DOUBLE), 0)
            WHEN wall ~ '^[\d.]+[^\d.]{1,4}s$' THEN try_cast(regexp_extract(wall, '^[\d.]+') AS DOUBLE) / 1e6
        END AS wall_s
    FROM named
), believed AS (
    -- A latency of more than a century is no latency.
    SELECT * REPLACE (CASE WHEN wall_s < 3e9 THEN wall_s END AS wall_s) FROM timed
), before AS (
    SELECT believed.*, stamps.stamp_at AS before_at
    FROM believed ASOF LEFT JOIN stamps ON believed.line >= stamps.line
), zoned AS (
    SELECT before.*, zones.offset_s
    FROM before ASOF LEFT JOIN (FROM stamps WHERE offset_s IS NOT NULL) AS zones ON before.line >= zones.line
)
SELECT
    $host AS host,
    $source AS source,
    zoned.line,
    ended_local,
    wrapper_at,
    zoned.offset_s,
    before_at,
    stamps.stamp_at AS after_at,
    wall_s,
    status,
    client,
    split_part(target, ' ', 1) AS method,
    regexp_extract(target, '"((?:[^"\\]|\\.)*)"', 1) AS path,
    left(text, 300) AS text
FROM zoned ASOF LEFT JOIN stamps ON zoned.line < stamps.line
ORDER BY zoned.line
