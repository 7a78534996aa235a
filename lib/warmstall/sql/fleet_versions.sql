-- Requests to models by the version that answered them: on how many servers, how fast, and which verdicts, as shares.
WITH answered AS (
    SELECT coalesce(nullif(v.version, ''), 'not known') AS version, r.host, r.server, r.wall_s, r.verdict
    FROM requests AS r
    ASOF LEFT JOIN versions AS v ON r.host = v.host AND r.server = v.server AND r.started_at >= v."at"
    WHERE r.inference
),
each AS (
    SELECT version, count(DISTINCT (host, server)) AS servers, count(*) AS requests, median(wall_s) AS wall_p50_s
    FROM answered GROUP BY ALL
),
shares AS (
    SELECT version, verdict, count(*) / sum(count(*)) OVER (PARTITION BY version) AS share
    FROM answered GROUP BY version, verdict
),
by_verdict AS (
    PIVOT shares ON verdict IN (
        'warm_ok', 'cold_start', 'queue_wait', 'slow_prefill', 'slow_decode', 'warm_stall', 'load_failure',
        'runner_crash', 'client_abort', 'rejected', 'unknown'
    ) USING sum(share)
)
SELECT each.*, coalesce(COLUMNS(by_verdict.* EXCLUDE (version)), 0)
FROM each JOIN by_verdict USING (version)
ORDER BY requests DESC, version
