-- The select list of a row of the past, of the live row t or of an image. Masked and excluded columns are the same in
-- both, so that one reading never mixes real and redacted values. A column that must not be NULL never is: to Diesel a
-- row with an unexpected NULL is no row, where it may be none. An error only comes if the column is read.
CREATE FUNCTION threadline_internal.past_columns(audited threadline.audited_tables, live boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(CASE
      WHEN c.name = ANY (audited.masked_columns) THEN format('''[REDACTED]''::%s', c.type)
      WHEN c.name = ANY (audited.excluded_columns) THEN CASE
        WHEN NOT c.not_null THEN format('NULL::%s', c.type)
        WHEN c.constant IS NOT NULL THEN format('%s::%s', c.constant, c.type)
        ELSE format('threadline_internal.raise_no_value(NULL::%s, %L, %s)', c.type,
               format('column %I of %s has no value in the past: it is excluded from the audit log',
                 replace(c.name, '%', '%%'), replace(audited.relation::text, '%', '%%')),
               CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END) END
      WHEN c.generated = 'v' AND audited.masked_columns || audited.excluded_columns <> '{}' THEN
        format('threadline_internal.raise_no_value(NULL::%s, %L, %s)', c.type,
          format('column %I of %s has no value in the past: it is computed, and may be so from redacted columns',
            replace(c.name, '%', '%%'), replace(audited.relation::text, '%', '%%')),
          CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END)
      WHEN live THEN format('t.%I', c.name)
      WHEN c.generated = 'v' THEN 'NULL::' || c.type
      ELSE format(CASE WHEN c.not_null THEN 'coalesce(%1$s, threadline_internal.raise_no_value(NULL::%2$s, %3$L, $3))' ELSE '%1$s' END,
             CASE WHEN c.not_null AND c.type IN ('pg_catalog.json', 'pg_catalog.jsonb')  -- a JSON null is a value
                 THEN format('(p.image OPERATOR(pg_catalog.->) %L)::%s', c.name, c.type)
               ELSE format('(p.record).%I', c.name) END,
             c.type, format('change %%s of %s recorded no value for column %I, which is NOT NULL now',
               replace(audited.relation::text, '%', '%%'), replace(c.name, '%', '%%'))) END
      || format(' AS %I', c.name), E',\n       ' ORDER BY c.number)
    FROM (SELECT a.attname::text AS name, a.attnum AS number, threadline_internal.type_name(a.atttypid, a.atttypmod) AS type,
                 a.attnotnull AS not_null, a.attgenerated AS generated,
                 coalesce(CASE WHEN y.typcategory NOT IN ('A', 'C')
                            THEN quote_literal(threadline_internal.added_default(a.attrelid, a.attnum) #>> '{}') END,
                          CASE WHEN y.typcategory = 'S' AND a.atttypmod NOT BETWEEN 4 AND 13 THEN '''[REDACTED]''' END) AS constant
            FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
           WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.past_columns(threadline.audited_tables, boolean) IS
  'SQL for the columns of a row of the past, out of the live row or an image.';
