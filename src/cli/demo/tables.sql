-- Which database does the demo start with? A chat service's: two tables by month, as teams keep them by hand. Two months ago the
-- cron job did not run, and nobody has run it since the beginning of this month.
CREATE ROLE chat_owner LOGIN;
ALTER SCHEMA public OWNER TO chat_owner;
SET ROLE chat_owner;

CREATE TABLE chat_history (
    id bigint GENERATED ALWAYS AS IDENTITY,
    session_id integer NOT NULL,
    message text NOT NULL,
    created_at timestamp NOT NULL
) PARTITION BY RANGE (created_at);
CREATE TABLE cost_tracking (
    id bigint GENERATED ALWAYS AS IDENTITY,
    model text NOT NULL,
    cost_usd numeric(10, 6) NOT NULL,
    created_at timestamp NOT NULL
) PARTITION BY RANGE (created_at);
CREATE INDEX chat_history_session ON chat_history (session_id, created_at);

DO $$
DECLARE
    start timestamp;
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['chat_history', 'cost_tracking'] LOOP
        FOR age IN 0..5 LOOP
            CONTINUE WHEN age = 2;
            start := date_trunc('month', now() AT TIME ZONE 'UTC') - age * interval '1 month';
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || to_char(start, '_YYYY_MM'), parent, start, start + interval '1 month');
        END LOOP;
    END LOOP;
END $$;

INSERT INTO chat_history (session_id, message, created_at)
SELECT n % 5000, 'message ' || n, date_trunc('month', now() AT TIME ZONE 'UTC') - (n % 5 + (n % 5 > 1)::int) * interval '1 month' + n * interval '1 s'
FROM generate_series(1, 200000) AS n;
INSERT INTO cost_tracking (model, cost_usd, created_at)
SELECT 'large', (n % 5000) / 100000.0, date_trunc('month', now() AT TIME ZONE 'UTC') - (n % 5 + (n % 5 > 1)::int) * interval '1 month' + n * interval '1 s'
FROM generate_series(1, 100000) AS n;
ANALYZE chat_history, cost_tracking;
