-- Writes one column of a primary key as the audit log has it, in its own type; `place` is where it stands in a
-- composite key, and NULL where it is the whole key. Gives NULL for a single jsonb column, which cannot be read back
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
  'SQL for one column of a primary key out of a change.';

-- Lists the columns of a primary key: as the audit log has them, in their own type, and with the equality of that type,
-- which the index of the key tells. `exact` says that keys are equal exactly when the audit log has the same text for
-- them; 'Ada' and 'ADA' are one to citext, and two texts.
CREATE FUNCTION threadline_internal.recorded_key_columns(audited threadline.audited_tables)
RETURNS TABLE (number bigint, name text, recorded text, equals text, exact boolean, text_collation text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname,
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
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a primary key out of a change, and how they are compared.';

-- Writes the condition that a change c is of the row with a key, given as one expression a column. Where equal keys can
-- be different texts, it looks at every change of the table: slow, but the history of one row stays in one piece.
CREATE FUNCTION threadline_internal.recorded_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN audited.key_type <> 'text' THEN format('c.key_%s OPERATOR(pg_catalog.=) %s', audited.key_type, key[1])
      -- Once for all changes; the index has the beginning of a key.
      WHEN bool_and(k.exact OR k.recorded IS NULL) THEN threadline_internal.render(
        'c.key_text OPERATOR(pg_catalog.=) {row_key}
   AND pg_catalog.left(c.key_text, 500) OPERATOR(pg_catalog.=) pg_catalog.left({row_key}, 500)', jsonb_build_object(
          -- The collation of the key given must not meet that of key_text.
          'row_key', format('(SELECT threadline_internal.row_key(NULL::%s, %s) COLLATE pg_catalog."C")',
            audited.relation, array_to_string(key, ', '))))
      ELSE string_agg(threadline_internal.render(
        CASE WHEN k.text_collation IS NULL THEN '{recorded} {equals} {key}'
          ELSE '({recorded} COLLATE {collation}) {equals} {key}' END, jsonb_build_object(
          'recorded', k.recorded, 'collation', k.text_collation, 'equals', k.equals, 'key', key[k.number])),
        ' AND ') END
    FROM threadline_internal.recorded_key_columns(audited) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key(threadline.audited_tables, text[]) IS
  'SQL for the changes of one row, by its key.';

-- Writes the condition that the live row t is the one with a key. A key given out of another column may have another
-- collation.
CREATE FUNCTION threadline_internal.live_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('t.%I %s ', k.name, k.equals) || key[k.number]
             || coalesce(concat(' COLLATE ', quote_ident(n.nspname), '.') || quote_ident(l.collname), ''), ' AND ')
      || CASE WHEN bool_or(k.recorded IS NULL) THEN threadline_internal.render(
           ' AND threadline_internal.row_key(NULL::{table}, {columns}) OPERATOR(pg_catalog.=) '
           'threadline_internal.row_key(NULL::{table}, {key})', jsonb_build_object('table', audited.relation,
             'columns', string_agg(format('t.%I', k.name), ', '), 'key', array_to_string(key, ', '))) ELSE '' END
    FROM threadline_internal.recorded_key_columns(audited) AS k
    JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    LEFT JOIN pg_namespace AS n ON n.oid = l.collnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.live_key(threadline.audited_tables, text[]) IS
  'SQL for the live row with a key.';

-- Lists the arguments of a function that takes a key from the given one on.
CREATE FUNCTION threadline_internal.key_arguments(audited threadline.audited_tables, first integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg('$' || n ORDER BY n) FROM generate_series(first, first + cardinality(audited.key_columns) - 1) AS n
$function$;
COMMENT ON FUNCTION threadline_internal.key_arguments(threadline.audited_tables, integer) IS
  'The placeholders of a key.';
