-- What tells the zone of the access lines of a log without any record with an offset, in seconds east of UTC: a wrapper
-- in UTC beside a local stamp, to the quarter of an hour.
SELECT source, mode(round(epoch(ended_local - wrapper_at) / 900) * 900)::INTEGER AS from_wrapper
FROM access_lines WHERE wrapper_at IS NOT NULL GROUP BY source
