-- Returns SQL for one column of a primary key as the audit log stores it, in its own type. `place` is its position in a
-- composite key, and NULL if it is the whole key. Returns NULL for a single jsonb column, which cannot be read back
-- from text.
CREATE FUNCTION threadline_internal.recorded_key_column(audited threadline.audited_tables, name text, type oid,
  typmod integer, place bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN NOT (audited.key_type = 'text' AND b.oid = 'jsonb'::regtype AND place IS NULL) THEN
    threadline_internal.render(CASE
      WHEN audited.key_type <> 'text' AND format_type(y.oid, NULL) = audited.key_type THEN 'c.key_{key_type}'
      WHEN audited.key_type <> 'text' THEN 'c.key_{key_type}::{type}'
      WHEN b.typcategory IN ('A', 'C') THEN
        '(pg_catalog.jsonb_populate_record(NULL::{table}, pg_catalog.jsonb_build_object({name}, {json}))).{column}'
      WHEN b.oid = 'jsonb'::regtype THEN '{json}::{type}'
      WHEN b.oid = 'money'::regtype THEN 'threadline_internal.money_of({text})::{type}'
      WHEN place IS NULL THEN 'c.key_text::{type}'
      ELSE '(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) {place})::{type}' END, jsonb_build_object(
    'key_type', audited.key_type, 'table', audited.relation, 'name', quote_literal(name), 'column', quote_ident(name),
    'type', threadline_internal.type_name(y.oid, typmod), 'place', place,
    'text', coalesce('c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) ' || place, 'c.key_text'),
    'json', coalesce('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->) ' || place || ')',
      'c.key_text::pg_catalog.jsonb'))) END
    FROM pg_type AS y
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
   WHERE y.oid = recorded_key_column.type
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_column(threadline.audited_tables, text, oid, integer, bigint) IS
  'SQL for one column of a primary key from a change.';

-- Returns the columns of a primary key: as the audit log stores them, in their own type, and with the equality operator
-- of that type, which the index of the key provides. `exact` says that keys are equal exactly if the audit log stores
-- the same text for them: 'Ada' and 'ADA' are equal in citext, but are two texts.
CREATE FUNCTION threadline_internal.recorded_key_columns(audited threadline.audited_tables)
RETURNS TABLE (number bigint, name text, recorded text, equals text, exact boolean, text_collation text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT k.number, a.attname::text,
         threadline_internal.recorded_key_column(audited, a.attname, a.atttypid, a.atttypmod,
           CASE WHEN i.indnkeyatts > 1 THEN k.number - 1 END),
         format('OPERATOR(%I.=)', n.nspname),
         coalesce(l.collisdeterministic, true) AND (b.typtype = 'e' OR b.oid = ANY (
           '{bigint,bit,bool,bpchar,bytea,"char",cidr,date,float4,float8,inet,int,macaddr,money,name,numeric,oid,
             smallint,text,time,timestamp,timestamptz,uuid,varbit,varchar}'::regtype[]::oid[])),
         CASE WHEN l.collisdeterministic THEN 'pg_catalog."C"' ELSE l.oid::regcollation::text END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_amop AS o
      ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3
     AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
    JOIN pg_operator AS e ON e.oid = o.amopopr
    JOIN pg_namespace AS n ON n.oid = e.oprnamespace
   WHERE i.indrelid = audited.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number;
END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a primary key from a change, and how they are compared.';

-- Returns SQL for the columns of a passed key as the audit log stores them: hashed, unless a hash was passed.
CREATE FUNCTION threadline_internal.hashed_key(audited threadline.audited_tables, key text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}' THEN key ELSE (
    SELECT array_agg(threadline_internal.recorded_value(audited, k.name, key[k.number], true) ORDER BY k.number)
      FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)) END
$function$;
COMMENT ON FUNCTION threadline_internal.hashed_key(threadline.audited_tables, text[]) IS
  'SQL for the columns of a passed key, as the audit log stores them.';

-- Returns SQL for the columns of a passed key as the live table stores them. A hash is searched for in all rows, once.
CREATE FUNCTION threadline_internal.unhashed_key(audited threadline.audited_tables, key text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}' THEN key ELSE (
    SELECT array_agg(CASE WHEN w.hash = w.given THEN w.given ELSE threadline_internal.render(
             $sql$(SELECT coalesce((SELECT x.{column} FROM {live_rows} AS x
                 WHERE {hash_of_given} OPERATOR(pg_catalog.=) {given} AND {hash_of_live} OPERATOR(pg_catalog.=) {given}
                 LIMIT 1), {given}))$sql$, jsonb_build_object(
               'column', quote_ident(w.name), 'live_rows', threadline_internal.live_rows(audited.relation),
               'given', w.given, 'hash_of_given', w.hash,
               'hash_of_live', threadline_internal.recorded_value(audited, w.name, format('x.%I', w.name)))) END
             ORDER BY w.number)
      FROM (SELECT k.name, k.number, key[k.number] AS given,
                   threadline_internal.recorded_value(audited, k.name, key[k.number], true) AS hash
              FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)) AS w) END
$function$;
COMMENT ON FUNCTION threadline_internal.unhashed_key(threadline.audited_tables, text[]) IS
  'SQL for the columns of a passed key, as a live row has them.';

-- Returns the condition that a change c belongs to the row with a key, given as one expression per column. If equal
-- keys can have different texts, it reads every change of the table: slow, but the history of one row stays in one
-- piece.
CREATE FUNCTION threadline_internal.recorded_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN audited.key_type <> 'text' THEN format('c.key_%s OPERATOR(pg_catalog.=) %s', audited.key_type, h.given[1])
      -- Computed once for all changes; the index contains the start of a key.
      WHEN bool_and(k.exact OR k.recorded IS NULL) THEN threadline_internal.render(
        'c.key_text OPERATOR(pg_catalog.=) {row_key}
   AND pg_catalog.left(c.key_text, 500) OPERATOR(pg_catalog.=) pg_catalog.left({row_key}, 500)', jsonb_build_object(
          -- The collation of the passed key must not conflict with that of key_text.
          'row_key', format('(SELECT threadline_internal.row_key_%s(ROW(%s)) COLLATE pg_catalog."C")', audited.id,
            array_to_string(key, ', '))))
      ELSE string_agg(threadline_internal.render(
        CASE WHEN k.text_collation IS NULL THEN '{recorded} {equals} {key}'
          ELSE '({recorded} COLLATE {collation}) {equals} {key}' END, jsonb_build_object(
          'recorded', k.recorded, 'collation', k.text_collation, 'equals', k.equals, 'key', h.given[k.number])),
        ' AND ') END
    FROM threadline_internal.recorded_key_columns(audited) AS k
   CROSS JOIN threadline_internal.hashed_key(audited, key) AS h (given)
   GROUP BY h.given
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key(threadline.audited_tables, text[]) IS
  'SQL for the changes of one row, by its key.';

-- Returns the condition that the live row t is the one with a key. A key taken from another column may have another
-- collation.
CREATE FUNCTION threadline_internal.live_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('t.%I %s ', k.name, k.equals) || h.given[k.number]
             || coalesce(concat(' COLLATE ', quote_ident(n.nspname), '.') || quote_ident(l.collname), ''), ' AND ')
      || CASE WHEN bool_or(k.recorded IS NULL) THEN threadline_internal.render(
           ' AND threadline_internal.row_key_{table_id}(ROW({columns})) OPERATOR(pg_catalog.=) '
           'threadline_internal.row_key_{table_id}(ROW({key}))', jsonb_build_object('table_id', audited.id,
             'columns', string_agg(format('t.%I', k.name), ', '), 'key', array_to_string(key, ', '))) ELSE '' END
    FROM threadline_internal.recorded_key_columns(audited) AS k
   CROSS JOIN threadline_internal.unhashed_key(audited, key) AS h (given)
    JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    LEFT JOIN pg_namespace AS n ON n.oid = l.collnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.live_key(threadline.audited_tables, text[]) IS
  'SQL for the live row with a key.';

-- Returns the columns of a primary key with the built-in types of the function arguments, so that nothing depends on a
-- type of the application. A domain is passed as its base type, and any other type as text; `cast_as` converts it back
-- to the type of the column. integer serves smallint, so that versions(NULL::t, 3) needs no cast.
CREATE FUNCTION threadline_internal.key_parameters(audited threadline.audited_tables)
RETURNS TABLE (number bigint, type text, cast_as text, is_domain boolean, given text, category "char")
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT k.number,
         CASE WHEN NOT b.is_built_in THEN 'text' WHEN b.type = 'smallint'::regtype THEN 'integer'
           ELSE format_type(b.type, NULL) END,
         CASE WHEN NOT b.is_built_in THEN '::' || threadline_internal.type_name(c.type, NULL) ELSE '' END,
         b.is_built_in AND b.type <> c.type,
         CASE WHEN b.is_built_in THEN format_type(b.type, NULL) ELSE 'text' END,
         CASE WHEN b.is_built_in THEN b.category ELSE 'S' END
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
   CROSS JOIN LATERAL threadline_internal.base_type(c.type, c.typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.key_parameters(threadline.audited_tables) IS
  'The columns of a primary key, with the built-in types of the function arguments.';

-- Returns the signatures with which the functions of a table take its key: the argument types, and the cast of each to
-- the type of its column. A client that refers to a domain by its name passes text, so there is a second signature for
-- it.
CREATE FUNCTION threadline_internal.key_signatures(audited threadline.audited_tables)
RETURNS TABLE (types text, casts text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(k.type, ', ' ORDER BY k.number), array_agg(k.cast_as ORDER BY k.number)
    FROM threadline_internal.key_parameters(audited) AS k HAVING count(*) > 0
  UNION ALL
  SELECT string_agg(CASE WHEN k.is_domain THEN 'text' ELSE k.type END, ', ' ORDER BY k.number),
         array_agg(CASE WHEN k.is_domain THEN '::' || threadline_internal.type_name(k.type::regtype, NULL)
                     ELSE k.cast_as END ORDER BY k.number)
    FROM threadline_internal.key_parameters(audited) AS k HAVING bool_or(k.is_domain AND k.type <> 'text')
$function$;
COMMENT ON FUNCTION threadline_internal.key_signatures(threadline.audited_tables) IS
  'The argument types for a key, with the casts to the types of its columns.';

-- Returns the arguments of a function that takes a key, starting with the given position, in the types of its columns.
CREATE FUNCTION threadline_internal.key_arguments(casts text[], first integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg(concat('$', first + n - 1, c) ORDER BY n) FROM unnest(casts) WITH ORDINALITY AS c (c, n)
$function$;
COMMENT ON FUNCTION threadline_internal.key_arguments(text[], integer) IS 'SQL for the key passed to a function.';
