-- Columns whose names suggest a secret. A new column of an audited table is recorded from its first value on, and
-- nothing else checks it.

-- Returns whether a column with this name and type is likely to contain a secret: the last word of its name decides,
-- and its type must be able to hold text or bytes.
CREATE FUNCTION threadline_internal.looks_secret(name text, type oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  words text := lower(regexp_replace(name, '([a-z0-9])([A-Z])', E'\\1_\\2', 'g'));
  base record := threadline_internal.base_type(type, -1);
BEGIN
  IF base.category = 'A' THEN
    base := threadline_internal.base_type((SELECT y.typelem FROM pg_type AS y WHERE y.oid = base.type), -1);
  END IF;
  RETURN (base.kind = 'b' AND base.category = 'S' OR base.type = ANY ('{bytea,json,jsonb,uuid}'::regtype[]::oid[]))
    AND words ~ ('(^|_)(api_?key|access_?key|card_?number|credential|cvc|cvv|hash|iban|mfa|otp|passphrase|passwd|'
      'password|pin|private_?key|pwd|recovery_?code|salt|secret|secret_?key|signing_?key|ssn|token|totp)s?'
      '(_?(base64|digest|enc|encrypted|hash|hashed|new|old|plain|raw|sha256|text|value|[0-9]+))?$');
END
$function$;
COMMENT ON FUNCTION threadline_internal.looks_secret(text, oid) IS
  'Whether the name and type of a column suggest a secret.';

-- Returns columns with the name of a secret that are recorded in clear.
CREATE FUNCTION threadline_internal.health_secrets(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'secret_recorded', 'warning',
         format('column %I looks like a secret by its name, and its values are recorded', c.name),
         CASE WHEN c.name = ANY (audited.key_columns) THEN format('It is part of the primary key: record it as a keyed '
             'hash, SELECT threadline.audit_table(%L, hash_key => %L);', audited.relation, ARRAY[c.name])
           ELSE 'Mask or exclude it with threadline.audit_table, and redact what is recorded.' END
         || format(' If it is none: SELECT threadline.exempt_column(%L, %L, ''why'');', audited.relation, c.name)
    FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE threadline_internal.looks_secret(c.name, c.type)
     AND c.name <> ALL (threadline_internal.redacted_names(audited))
     AND NOT EXISTS (SELECT FROM threadline.exempt_columns AS e
                      WHERE e.relation = audited.relation AND e.column_name = c.name
                        AND threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database))
   ORDER BY c.number
$function$;
COMMENT ON FUNCTION threadline_internal.health_secrets(threadline.audited_tables) IS
  'A finding for each column with the name of a secret whose values are recorded.';

CREATE FUNCTION threadline.exempt_column(relation regclass, column_name text, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refusal text;
  hint text;
BEGIN
  IF threadline_internal.is_blank(exempt_column.reason) THEN
    refusal := 'there is no reason';
    hint := 'Say why its values may be recorded.';
  ELSIF NOT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                     WHERE c.name = exempt_column.column_name) THEN
    refusal := 'there is no such column';
    hint := format('The columns are: %s.', (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.number)
      FROM threadline_internal.columns_of(relation) AS c));
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot exempt column % of %: %', coalesce(quote_ident(column_name), 'NULL'),
        coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_exempt_table', HINT = hint;
  END IF;
  -- Rows for dropped tables are not needed.
  DELETE FROM threadline.exempt_columns AS e
   WHERE e.relation = exempt_column.relation AND e.column_name = exempt_column.column_name
      OR NOT threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database);
  INSERT INTO threadline.exempt_columns (relation, column_name, reason, exempted_at, exempted_by, actor_ref,
    table_schema, table_name, database)
  SELECT exempt_column.relation, exempt_column.column_name, exempt_column.reason, now(), current_user,
         threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')),
         n.nspname, c.relname, threadline_internal.database_identity()
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = exempt_column.relation;
END
$function$;
COMMENT ON FUNCTION threadline.exempt_column(regclass, text, text) IS
  'Allows the values of a column with the name of a secret to be recorded, with a reason; threadline.health warns '
  'about other such columns.';

CREATE FUNCTION threadline.unexempt_column(relation regclass, column_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  DELETE FROM threadline.exempt_columns AS e
   WHERE e.relation = unexempt_column.relation AND e.column_name = unexempt_column.column_name;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unexempt_column(regclass, text) IS
  'Removes the permission to record the values of a column; returns false if there was none.';
