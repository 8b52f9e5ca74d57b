-- How many bytes of the audit log a change takes: psql --quiet --file docs/sizing.sql, on a database of its own that has
-- Threadline's migrations. It takes some seconds.
SET client_min_messages = warning;
CREATE TABLE sizing (
  id         integer     PRIMARY KEY,
  name       text        NOT NULL,
  email      text        NOT NULL,
  biography  text        NOT NULL,
  balance    numeric     NOT NULL,
  is_active  boolean     NOT NULL,
  created_at timestamptz NOT NULL
);
SELECT threadline.audit_table('sizing') \gset
CREATE TEMP TABLE step (number integer GENERATED ALWAYS AS IDENTITY, what text, changes bigint, heap bigint, indexes bigint, transactions bigint);
CREATE PROCEDURE pg_temp.note(what text) LANGUAGE sql AS $$
  INSERT INTO step (what, changes, heap, indexes, transactions)
  SELECT what, (SELECT count(*) FROM threadline.audit_changes),
         (SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('threadline.audit_changes')),
         (SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree('threadline.audit_changes') WHERE isleaf),
         pg_total_relation_size('threadline.audit_transactions')
$$;

-- A row of about 250 bytes. Keys come in no order, as they do where many rows are worked on.
CREATE PROCEDURE pg_temp.change(what text, keys int4range) LANGUAGE plpgsql AS $$
DECLARE
  keys_of integer[] := ARRAY(SELECT key FROM generate_series(lower(keys), upper(keys) - 1) AS key ORDER BY md5(key::text));
BEGIN
  IF what = 'insert' THEN
    INSERT INTO sizing SELECT key, 'Ada Lovelace ' || key, format('ada.%s@example.com', key), repeat(md5(key::text), 5), key / 7.0, true, now()
      FROM unnest(keys_of) AS key;
  ELSIF what = 'update of 2 columns' THEN
    UPDATE sizing AS s SET balance = s.balance + 1, is_active = NOT s.is_active FROM unnest(keys_of) AS k (key) WHERE s.id = k.key;
  ELSE
    DELETE FROM sizing AS s USING unnest(keys_of) AS k (key) WHERE s.id = k.key;
  END IF;
END
$$;

CALL pg_temp.note('');
DO $$
DECLARE
  what text;
BEGIN
  FOREACH what IN ARRAY '{insert,update of 2 columns,delete}'::text[] LOOP
    CALL pg_temp.change(what, int4range(1, 10001));
    CALL pg_temp.note(what || ', all in one transaction');
    COMMIT;
    FOR key IN 20001..30000 LOOP
      -- In no order, either.
      CALL pg_temp.change(what, int4range((20001 + (key::bigint * 7919) % 10000)::integer, (20002 + (key::bigint * 7919) % 10000)::integer));
      COMMIT;
    END LOOP;
    CALL pg_temp.note(what || ', a transaction each');
    COMMIT;
  END LOOP;
END
$$;

SELECT step.what AS "10,000 changes", (step.heap - before.heap) / n AS "table", (step.indexes - before.indexes) / n AS "indexes",
       (step.transactions - before.transactions) / n AS "transactions", (step.heap + step.indexes + step.transactions - before.heap - before.indexes - before.transactions) / n AS "bytes a change"
  FROM step,
       LATERAL (SELECT b.* FROM step AS b WHERE b.number = step.number - 1) AS before,
       LATERAL (SELECT step.changes - before.changes AS n) AS counted
 WHERE n > 0 ORDER BY step.number;
DROP TABLE sizing;
