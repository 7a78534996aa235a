-- What each server printed at a start, and no more or otherwise than at its start before: versions and settings.
-- A start that printed no settings tells nothing of them; one without a version nothing of that.
WITH starts AS (
    SELECT host, server, "at", version,
        lag("at") OVER (PARTITION BY host, server ORDER BY "at") AS before_at,
        lag(version) OVER (PARTITION BY host, server ORDER BY "at") AS before_version
    FROM (SELECT host, server, "at", max(version) AS version FROM versions WHERE "at" IS NOT NULL GROUP BY ALL)
),
printed AS (
    SELECT DISTINCT host, server, "at" FROM settings
),
told AS (
    SELECT s.host, s.server, s."at", t.name,
        coalesce(max(t.value) FILTER (t."at" = s.before_at), '') AS from_value,
        coalesce(max(t.value) FILTER (t."at" = s."at"), '') AS to_value
    FROM starts AS s
    SEMI JOIN printed AS now USING (host, server, "at")
    JOIN settings AS t ON t.host = s.host AND t.server = s.server AND t."at" IN (s."at", s.before_at)
    WHERE EXISTS (FROM printed AS p WHERE p.host = s.host AND p.server = s.server AND p."at" = s.before_at)
    GROUP BY ALL
)
SELECT host, server, "at", name, from_value, to_value FROM told WHERE from_value <> to_value
UNION ALL
SELECT host, server, "at", 'version', before_version, version FROM starts
WHERE before_version <> '' AND version <> '' AND before_version <> version
ORDER BY ALL
