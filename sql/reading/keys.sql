-- The columns of a primary key: as the audit log has them, in their own type, and the equality of that type, which the index
-- of the key tells. NULL for a single jsonb column, which cannot be read back from text. `exact` says that keys are equal
-- exactly when the audit log has the same text for them; 'Ada' and 'ADA' are one to citext, and two texts.
CREATE FUNCTION threadline_internal.recorded_key_columns(audited threadline.audited_tables)
RETURNS TABLE (number bigint, name text, recorded text, equals text, exact boolean, text_collation text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname, r.recorded, format('OPERATOR(%I.=)', n.nspname),
         coalesce(l.collisdeterministic, true) AND (b.typtype = 'e' OR b.oid = ANY ('{bigint,bit,bool,bpchar,bytea,"char",cidr,date,float4,float8,inet,int,macaddr,
           money,name,numeric,oid,smallint,text,time,timestamp,timestamptz,uuid,varbit,varchar}'::regtype[]::oid[])),
         CASE WHEN l.collisdeterministic THEN 'pg_catalog."C"' ELSE l.oid::regcollation::text END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3 AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
    JOIN pg_operator AS e ON e.oid = o.amopopr
    JOIN pg_namespace AS n ON n.oid = e.oprnamespace
   CROSS JOIN LATERAL (SELECT threadline_internal.type_name(a.atttypid, a.atttypmod) AS type,
                              CASE WHEN i.indnkeyatts > 1 THEN format('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->) %s)', k.number - 1)
                                ELSE 'c.key_text::pg_catalog.jsonb' END AS json) AS t
   CROSS JOIN LATERAL (SELECT CASE
             WHEN audited.key_type <> 'text' AND format_type(a.atttypid, NULL) = audited.key_type THEN 'c.key_' || audited.key_type
             WHEN audited.key_type <> 'text' THEN format('c.key_%s::%s', audited.key_type, t.type)
             WHEN b.typcategory IN ('A', 'C') THEN
               format('(pg_catalog.jsonb_populate_record(NULL::%s, pg_catalog.jsonb_build_object(%L, %s))).%I', audited.relation, a.attname, t.json, a.attname)
             WHEN i.indnkeyatts > 1 AND b.oid = 'jsonb'::regtype THEN format('%s::%s', t.json, t.type)
             WHEN i.indnkeyatts > 1 THEN format('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) %s)::%s', k.number - 1, t.type)
             WHEN b.oid <> 'jsonb'::regtype THEN format('c.key_text::%s', t.type)
           END AS recorded) AS r
   WHERE i.indrelid = audited.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a primary key out of a change, and how they are compared.';

-- SQL that a change c is of the row with a key, given as one expression a column. Where equal keys can be different
-- texts, every change of the table is looked at: slow, but the history of one row stays in one piece.
CREATE FUNCTION threadline_internal.recorded_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type <> 'text' THEN format('c.key_%s OPERATOR(pg_catalog.=) %s', audited.key_type, key[1])
      WHEN bool_and(k.exact OR k.recorded IS NULL) THEN
        -- Once for all changes; the index has the beginning of a key.
        format('c.key_text OPERATOR(pg_catalog.=) (SELECT threadline_internal.row_key(NULL::%1$s, %2$s))
   AND pg_catalog.left(c.key_text, 500) OPERATOR(pg_catalog.=) pg_catalog.left((SELECT threadline_internal.row_key(NULL::%1$s, %2$s)), 500)',
          audited.relation, array_to_string(key, ', '))
      ELSE string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%1$s %2$s %3$s' ELSE '(%1$s COLLATE %4$s) %2$s %3$s' END,
                             k.recorded, k.equals, key[k.number], k.text_collation), ' AND ') END
    FROM threadline_internal.recorded_key_columns(audited) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key(threadline.audited_tables, text[]) IS 'SQL for the changes of one row, by its key.';

-- SQL that the live row t is the one with a key.
CREATE FUNCTION threadline_internal.live_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('t.%I %s %s', k.name, k.equals, key[k.number]), ' AND ')
      || CASE WHEN bool_or(k.recorded IS NULL) THEN format(' AND threadline_internal.row_key(NULL::%1$s, %2$s) OPERATOR(pg_catalog.=) threadline_internal.row_key(NULL::%1$s, %3$s)',
           audited.relation, string_agg(format('t.%I', k.name), ', '), array_to_string(key, ', ')) ELSE '' END
    FROM threadline_internal.recorded_key_columns(audited) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.live_key(threadline.audited_tables, text[]) IS 'SQL for the live row with a key.';

-- The arguments of a function that takes a key from the given one on.
CREATE FUNCTION threadline_internal.key_arguments(audited threadline.audited_tables, first integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg('$' || n ORDER BY n) FROM generate_series(first, first + cardinality(audited.key_columns) - 1) AS n
$function$;
COMMENT ON FUNCTION threadline_internal.key_arguments(threadline.audited_tables, integer) IS 'The placeholders of a key.';
