-- A trigger as it is commonly written: for every row it makes sure that the transaction has a row and looks up which one it is,
-- collects the primary key, and compares the images column by column. Ids are random UUIDs, and the audit log has the indexes that
-- the usual questions need: the history of a row, the changes of a transaction, the newest changes.
CREATE SCHEMA audit;
CREATE TABLE audit.transactions (
  id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  txid        bigint      NOT NULL UNIQUE,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  actor       jsonb
);
CREATE TABLE audit.changes (
  id             uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  transaction_id uuid        NOT NULL REFERENCES audit.transactions (id),
  table_schema   text        NOT NULL,
  table_name     text        NOT NULL,
  table_pk       jsonb       NOT NULL,
  op             text        NOT NULL CHECK (op IN ('insert', 'update', 'delete')),
  data_after     jsonb,
  changed_fields text[],
  changed_from   jsonb,
  captured_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changes_transaction_id_idx ON audit.changes (transaction_id);
CREATE INDEX changes_table_pk_idx ON audit.changes (table_schema, table_name, table_pk);
CREATE INDEX changes_captured_at_idx ON audit.changes (captured_at);

CREATE FUNCTION audit.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  transaction_id uuid;
  image jsonb;
  old_image jsonb;
  key_column text;
  table_pk jsonb := '{}';
  changed_fields text[];
  changed_from jsonb;
BEGIN
  INSERT INTO audit.transactions (txid, actor) VALUES (txid_current(), nullif(current_setting('app.actor', true), '')::jsonb)
  ON CONFLICT (txid) DO NOTHING;
  SELECT t.id INTO STRICT transaction_id FROM audit.transactions AS t WHERE t.txid = txid_current();
  IF TG_OP <> 'DELETE' THEN
    image := to_jsonb(NEW);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    old_image := to_jsonb(OLD);
  END IF;
  FOREACH key_column IN ARRAY coalesce(TG_ARGV, '{}') LOOP
    table_pk := table_pk || jsonb_build_object(key_column, coalesce(image, old_image) -> key_column);
  END LOOP;
  IF TG_OP = 'UPDATE' THEN
    SELECT array_agg(o.key), jsonb_object_agg(o.key, o.value) INTO changed_fields, changed_from
      FROM jsonb_each(old_image) AS o JOIN jsonb_each(image) AS n ON n.key = o.key
     WHERE o.value IS DISTINCT FROM n.value;
    IF changed_fields IS NULL THEN
      RETURN NULL;
    END IF;
  ELSE
    changed_from := old_image;
  END IF;
  INSERT INTO audit.changes (transaction_id, table_schema, table_name, table_pk, op, data_after, changed_fields, changed_from)
  VALUES (transaction_id, TG_TABLE_SCHEMA, TG_TABLE_NAME, table_pk, lower(TG_OP), image, changed_fields, changed_from);
  RETURN NULL;
END
$function$;
