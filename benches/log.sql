-- A year of changes to users and their posts, written straight into the audit log as capture would have written them:
-- {rows} rows in all, one in five a user, and {changes} changes in transactions of ten. Every row is inserted within
-- the year, most are updated, one post in twenty is deleted in the end. One update in eight is of one post.
-- Half of the transactions are of a job, the others of users, each of whom has about a hundred in the course of the year.
-- Some belong to a process: one in five to an import that never ends, others to orders, of three transactions within a
-- month, and to signups, of one. One in a hundred has an action, and fifty have a rare one.
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, visits integer NOT NULL, born date, vip boolean NOT NULL, note text);
CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, title text NOT NULL, body text NOT NULL, edits integer NOT NULL, at timestamptz NOT NULL, hidden boolean NOT NULL);
CREATE INDEX posts_user_id_idx ON posts (user_id);
SELECT threadline.audit_table(t) FROM unnest('{users,posts}'::regclass[]) AS t;

-- Partitions begin with the oldest change in the default partition.
INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_bigint)
VALUES (gen_random_uuid(), 0, 'insert', now() - interval '360 days', 0);
SELECT threadline_internal.create_partitions();
DELETE FROM threadline.audit_changes;

-- The same at every run.
SELECT setseed(0.5);
CREATE TEMPORARY TABLE transactions AS
  SELECT n, at, threadline.first_id_after(at - interval '1 microsecond') AS id, chance
    FROM (SELECT n, now() - interval '360 days' + n * (interval '360 days' * 10 / {changes}) AS at, random() AS chance
            FROM generate_series(0, {changes} / 10 - 1) AS n) AS t;
INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, correlation_id, database_role)
SELECT id, pg_current_xact_id(), at,
       CASE WHEN chance < 0.5 THEN '{"type":"job","id":"generator"}'
         ELSE jsonb_build_object('type', 'user', 'id', floor((chance - 0.5) * {changes} / 1000)::text) END,
       CASE WHEN n % 10 < 2 THEN 'import'
         -- Its transactions are ten days apart.
         WHEN n % 10 < 5 THEN 'order ' || n / 10 + (4 - n % 10) * ({changes} / 3600)
         WHEN n % 10 = 5 THEN 'signup ' || n / 10 END, current_user
  FROM transactions ORDER BY n;
INSERT INTO threadline.audit_actions (id, name, occurred_at, actor_ref, status, correlation_id, transaction_id)
SELECT gen_random_uuid(), name, t.occurred_at + interval '2 ms', t.actor_ref, 'ok', t.correlation_id, t.id
  FROM (SELECT id, CASE WHEN n % ({changes} / 500) = 77 THEN 'account.closed'
                     WHEN n % 100 = 13 THEN (ARRAY['order.approved', 'post.reviewed', 'user.invited'])[1 + n / 100 % 3] END AS name
          FROM transactions) AS named
  JOIN threadline.audit_transactions AS t USING (id)
 WHERE name IS NOT NULL;

-- The first changes insert every row once, in order of their keys; the others fall on any row that is there.
CREATE TEMPORARY TABLE events AS
  SELECT *, row_number() OVER versions AS version, lead(n) OVER versions IS NULL AS newest
    FROM (SELECT n, transaction_id, at, CASE WHEN n <= {rows} THEN n WHEN random() < 0.125 THEN 2 ELSE 1 + (random() * ({rows} - 1))::integer END AS row
            FROM (SELECT t.n * 10 + k AS n, t.id AS transaction_id, t.at FROM transactions AS t CROSS JOIN generate_series(1, 10) AS k) AS e) AS e
  WINDOW versions AS (PARTITION BY row ORDER BY n);
DROP TABLE transactions;
-- The subquery is sorted before images are made of it.
CREATE TEMPORARY VIEW images AS
  SELECT transaction_id, at, row, version, newest, row % 5 = 0 AS is_user, newest AND version > 1 AND row % 20 = 1 AS deleted,
         CASE WHEN row % 5 = 0
           THEN jsonb_build_object('id', row, 'name', 'user ' || row, 'email', 'user' || row || '@example.com', 'visits', version,
                                   'born', '1990-01-01', 'vip', row % 3 = 0, 'note', repeat('x', 80))
           ELSE jsonb_build_object('id', row, 'user_id', (1 + row % ({rows} / 5)) * 5, 'title', 'post ' || row || ' version ' || version,
                                   'body', repeat('y', 100), 'edits', version, 'at', '2026-01-01T00:00:00+00:00', 'hidden', false)
         END AS image
    FROM (SELECT * FROM events ORDER BY n) AS e;
INSERT INTO threadline.audit_changes (transaction_id, table_id, definition_id, op, captured_at, key_bigint, data_after, changed_from)
SELECT transaction_id, t.id, t.first_definition_id,
       CASE WHEN deleted THEN 'delete' WHEN version = 1 THEN 'insert' ELSE 'update' END, at + interval '1 ms', row,
       CASE WHEN NOT deleted THEN image END,
       CASE WHEN version > 1 THEN
         CASE WHEN is_user THEN jsonb_build_object('visits', version - 1)
           ELSE CASE WHEN deleted THEN image ELSE '{}' END ||
             jsonb_build_object('title', 'post ' || row || ' version ' || version - 1, 'edits', version - 1) END END
  FROM images JOIN threadline.audited_tables AS t ON t.relation = CASE WHEN is_user THEN 'users' ELSE 'posts' END::regclass;
-- Not DISABLE TRIGGER, which leaves a gap in the history.
SET session_replication_role = replica;
INSERT INTO users SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::users, image) AS r WHERE newest AND is_user;
INSERT INTO posts SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::posts, image) AS r WHERE newest AND NOT is_user AND NOT deleted;
SET session_replication_role = origin;
UPDATE threadline.audited_tables SET capture_since = now() - interval '361 days';
