-- Every change stores the definition of its table under which it was made. What happened to a column is therefore never
-- guessed from names or times: its column number identifies it, whatever its name.

-- Returns the present columns of a table even if the snapshot of the transaction is older than the table. Such a
-- transaction sees an old state of the catalog, but row types and pg_identify_object_as_address are always current.
CREATE FUNCTION threadline_internal.present_columns(relation regclass)
RETURNS TABLE (number smallint, name text, type oid, typmod integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  names text[];
  types oid[];
  place integer := 0;
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') THEN
    RETURN QUERY SELECT c.number, c.name, c.type, c.typmod FROM threadline_internal.columns_of(relation) AS c;
    RETURN;
  END IF;
  EXECUTE format('SELECT ARRAY(SELECT json_object_keys(row_to_json(r.*))) FROM (SELECT (NULL::%s).*) AS r', relation)
    INTO names;
  EXECUTE format('SELECT ARRAY[%s]::oid[]', (
      SELECT string_agg(format('pg_typeof((NULL::%s).%I)', relation, n.name), ', ' ORDER BY n.place)
        FROM unnest(names) WITH ORDINALITY AS n (name, place))) INTO types;
  number := 0;
  WHILE place < cardinality(names) LOOP
    number := number + 1;
    IF (pg_identify_object_as_address('pg_class'::regclass, relation, number)).object_names[3] = names[place + 1] THEN
      place := place + 1;
      name := names[place];
      type := types[place];
      -- Everything except this is current.
      typmod := (SELECT a.atttypmod FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum = number);
      RETURN NEXT;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_columns(regclass) IS
  'The columns that a table has now, whatever the snapshot of the transaction.';

-- Returns a hash of the names, numbers and types of the columns, so that two states of a table can be compared cheaply.
-- It includes the types because PL/pgSQL fails if a field of NEW has a different type than in the plan cached by the
-- session.
CREATE FUNCTION threadline_internal.column_layout(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(sha256(convert_to(coalesce(string_agg(format('%s %s %s %s', c.number, c.type, c.typmod, c.name), E'\n'
           ORDER BY c.number), ''), 'UTF8')), 'hex')
    FROM threadline_internal.present_columns(relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.column_layout(regclass) IS
  'A hash of the names, numbers and types of the columns of a table.';

-- Distinguishes a layout in one database from the same layout in another: the functions of a restored table detect that
-- no refresh knows their database, even if the table has the same OID by chance.
CREATE FUNCTION threadline_internal.layout_in(layout text, database text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(sha256(convert_to(concat(layout, ' ', database), 'UTF8')), 'hex')
$function$;
COMMENT ON FUNCTION threadline_internal.layout_in(text, text) IS
  'A hash of the columns of a table and the identity of its database.';

-- Returns the same hash, for capture functions. The function is not immutable but is declared so: a session then
-- computes the result once and caches it in the plan of the expression. The plan depends on the table, which is a
-- constant in it, so PostgreSQL discards the plan when the table is altered.
CREATE FUNCTION threadline_internal.present_layout(relation regclass) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  -- In a restored database the OID may belong to another object, or to none.
  RETURN CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation)
    THEN threadline_internal.layout_in(threadline_internal.column_layout(relation),
           threadline_internal.database_identity()) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_layout(regclass) IS
  'A hash of the columns of a table in this database. A session computes it once, and again after the table was '
  'altered.';

-- Returns the next definition id, which is greater than all earlier ones. A sequence that is behind, as in a copy by
-- logical replication, is set first.
CREATE FUNCTION threadline_internal.next_definition_id() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  sequence regclass := pg_get_serial_sequence('threadline.table_definitions', 'id');
  greatest_id integer := (SELECT max(d.id) FROM threadline.table_definitions AS d);
  next_id integer := nextval(sequence);
BEGIN
  IF next_id <= greatest_id THEN
    PERFORM setval(sequence, greatest_id);
    next_id := nextval(sequence);
  END IF;
  RETURN next_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.next_definition_id() IS
  'An id for a definition, greater than all earlier ones.';

-- Returns the definition under which a change is made if the columns differ from those of the last capture definition,
-- and creates that definition for the first such change. Also returns what must not be recorded of the change.
-- `written` is the table or partition that fired the trigger: a table that was restored alone is not the one in
-- audited_tables.
CREATE FUNCTION threadline_internal.enter_definition(table_id integer, written oid, OUT definition_id integer,
  OUT excluded text[], OUT mask jsonb, OUT hashed jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  present threadline.table_definitions;
BEGIN
  SELECT t.* INTO audited FROM threadline.audited_tables AS t WHERE t.id = enter_definition.table_id;
  -- A schema was restored without the audit log, or before it: the written table is not a known table.
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- In a restored database, the OID of a dropped table may belong to any other table.
  IF audited.relation <> written AND audited.relation NOT IN (SELECT pg_partition_ancestors(written)) THEN
    audited.relation := coalesce(pg_partition_root(written)::oid, written);
  END IF;
  excluded := '{}';
  mask := '{}';
  hashed := '{}';
  IF threadline_internal.is_redacted(audited) THEN
    SELECT r.excluded, r.mask, r.hashed INTO excluded, mask, hashed FROM threadline_internal.redaction(audited) AS r;
  END IF;
  -- Describing a table is slow, and every statement comes here until the next refresh.
  SELECT d.id INTO definition_id FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id AND d.layout = threadline_internal.column_layout(audited.relation)
     AND d.id >= audited.definition_id AND d.relation = audited.relation
     AND d.database = threadline_internal.database_identity() AND d.key_columns = audited.key_columns
   ORDER BY d.id DESC LIMIT 1;
  IF NOT FOUND THEN
    present := threadline_internal.describe_definition(audited);
    -- Two concurrent writers create two definitions, which is harmless and makes neither wait.
    definition_id := threadline_internal.next_definition_id();
    present.id := definition_id;
    INSERT INTO threadline.table_definitions OVERRIDING SYSTEM VALUE SELECT present.*;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_definition(integer, oid) IS
  'The definition under which a change is made after a change of the columns that no refresh has followed, and what '
  'must not be recorded of the change.';

-- Returns what must not be recorded of a table. A redacted column that took the name of a key column would become the
-- key, which is read before it is masked, so it is excluded. A hashed column whose present type cannot store a hash is
-- also excluded.
CREATE FUNCTION threadline_internal.redaction(audited threadline.audited_tables, OUT excluded text[], OUT mask jsonb,
  OUT hashed jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(r.name) FILTER (WHERE NOT k.masks AND NOT r.is_hashed), '{}'),
         coalesce(jsonb_object_agg(r.name, '[REDACTED]') FILTER (WHERE k.masks), '{}'),
         threadline_internal.hash_kinds(audited.relation, array_agg(r.name) FILTER (WHERE r.is_hashed))
    FROM threadline_internal.redacted_columns(audited) AS r
   CROSS JOIN LATERAL (SELECT r.is_masked AND r.name <> ALL (audited.key_columns) AS masks) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.redaction(threadline.audited_tables) IS
  'The columns that images of a table omit, the placeholders of masked columns, and how hashed columns are hashed.';

-- Describes the present state of a table. The keys of its changes are those of the capture functions.
CREATE FUNCTION threadline_internal.describe_definition(audited threadline.audited_tables,
  OUT present threadline.table_definitions)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- The labels of an enum may be the redacted values themselves.
  redacted text[] := CASE WHEN threadline_internal.is_redacted(audited) THEN threadline_internal.redacted_names(audited)
    || ARRAY(SELECT r.name FROM threadline_internal.redacted_columns(audited) AS r)
    ELSE '{}' END;
BEGIN
  present.table_id := audited.id;
  SELECT coalesce(jsonb_object_agg(c.name, jsonb_build_object('number', c.number,
           'type', threadline_internal.type_shape(c.type, c.typmod), 'type_oid', c.type)
           || jsonb_strip_nulls(jsonb_build_object(
             'attributes', threadline_internal.attribute_numbers(c.type), 'labels',
             CASE WHEN c.name <> ALL (redacted) THEN threadline_internal.labels(c.type, c.typmod) END))), '{}')
    INTO present.columns
    FROM threadline_internal.present_columns(audited.relation) AS c;
  present.key_columns := audited.key_columns;
  present.layout := threadline_internal.column_layout(audited.relation);
  present.relation := audited.relation;
  present.database := threadline_internal.database_identity();
  present.defined_at := clock_timestamp();
END
$function$;
COMMENT ON FUNCTION threadline_internal.describe_definition(threadline.audited_tables) IS
  'The present definition of a table.';
