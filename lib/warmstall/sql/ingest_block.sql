-- A block of one log: every line with its family and the times that stand on it.
-- {unwrapped} is the chain of sub-selects that takes the wrappers off; $names and $patterns are the
-- families, in order. Times are UTC without a zone.
CREATE OR REPLACE TEMP TABLE block AS
WITH bare AS (
    SELECT
        line,
        CASE WHEN contains(raw, chr(27)) THEN regexp_replace(raw, $ansi, '', 'g') ELSE raw END AS text,
        wrapper_at
    FROM ({unwrapped})
), stamped AS (
    SELECT
        *,
        CASE WHEN contains(text, 'time=2')
             THEN regexp_extract(text, 'time=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:\d\d))', 1)
             ELSE '' END AS slog_time
    FROM bare
)
SELECT
    line,
    text,
    wrapper_at,
    try_cast(nullif(slog_time, '') AS TIMESTAMPTZ)::TIMESTAMP AS slog_at,
    CASE WHEN slog_time = '' THEN NULL
         WHEN slog_time[-1] = 'Z' THEN 0
         ELSE (CASE slog_time[-6] WHEN '-' THEN -60 ELSE 60 END)
              * (60 * try_cast(slog_time[-5:-4] AS INTEGER) + try_cast(slog_time[-2:] AS INTEGER)) END AS offset_s,
    CASE {families} WHEN contains(text, chr(65533)) THEN 'undecodable' END AS family
FROM stamped;

-- The clock of the block: every line that carries an absolute time.
CREATE OR REPLACE TEMP TABLE stamps AS
SELECT line, coalesce(slog_at, wrapper_at) AS stamp_at, offset_s
FROM block
WHERE slog_at IS NOT NULL OR wrapper_at IS NOT NULL;
