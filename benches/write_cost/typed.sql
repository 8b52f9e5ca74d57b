-- Typed history in the manner of pghistory: a table for each audited one, and a table of contexts, which the first change of a
-- transaction writes. Functions name the columns, as its migrations write them.
CREATE SCHEMA history;
CREATE TABLE history.context (
  id         uuid        PRIMARY KEY,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  metadata   jsonb       NOT NULL
);
CREATE FUNCTION history.attach_context() RETURNS uuid
LANGUAGE plpgsql
AS $function$
DECLARE
  context_id uuid;
  metadata jsonb;
BEGIN
  BEGIN
    SELECT INTO context_id current_setting('history.context_id');
    SELECT INTO metadata current_setting('history.context_metadata');
  EXCEPTION WHEN OTHERS THEN
  END;
  IF context_id IS NULL OR metadata IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO history.context AS c (id, created_at, updated_at, metadata) VALUES (context_id, now(), now(), metadata)
  ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata, updated_at = excluded.updated_at;
  RETURN context_id;
END
$function$;
