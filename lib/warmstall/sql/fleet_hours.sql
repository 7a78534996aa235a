-- Requests to models by server and hour of their start, as counts and sums that can be added up again.
SELECT host, server, date_trunc('hour', started_at) AS hour, count(*) AS requests,
    count(*) FILTER (verdict IN ('load_failure', 'runner_crash') OR status >= '500' OR status = '429') AS failed,
    count(*) FILTER (verdict = 'cold_start') AS cold_start,
    count(*) FILTER (verdict = 'warm_stall') AS warm_stall,
    count(*) FILTER (status = '200') AS answered,
    coalesce(sum(ln(greatest(wall_s, 0.001))) FILTER (status = '200'), 0) AS log_wall
FROM requests WHERE inference AND started_at IS NOT NULL
GROUP BY ALL
