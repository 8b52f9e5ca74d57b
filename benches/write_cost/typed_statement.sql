-- Without a key, nothing says which row of before an update is which row of after it.
-- enable_nestloop: the plan of an update is kept, and one made for a single row would take hours for the bulk update that comes next.
DO $do$
DECLARE
  event record;
  columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0);
  key text := nullif('{key}', '');
BEGIN
  FOR event IN SELECT * FROM (VALUES ('insert', 'NEW TABLE AS new_rows', 'new_rows AS r'),
      ('update', 'OLD TABLE AS old_rows NEW TABLE AS new_rows', 'new_rows AS r JOIN old_rows AS o ON o.{key} = r.{key} WHERE o IS DISTINCT FROM r'),
      ('delete', 'OLD TABLE AS old_rows', 'old_rows AS r')) AS e (name, tables, rows)
      WHERE key IS NOT NULL OR e.name <> 'update' LOOP
    EXECUTE format($$CREATE FUNCTION history.{table}_%1$s() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS 'DECLARE
        context uuid := history.attach_context();
      BEGIN
        INSERT INTO history.{table} (created_at, label, %2$s, {table}_id, context_id)
        SELECT now(), ''%1$s'', %3$s, %4$s, context FROM %5$s;
        RETURN NULL;
      END'$$, event.name, columns, regexp_replace(columns, '([^, ]+)', 'r.\1', 'g'), coalesce('r.' || key, 'NULL'), event.rows);
    EXECUTE format('CREATE TRIGGER capture_%1$s AFTER %1$s ON {table} REFERENCING %2$s FOR EACH STATEMENT EXECUTE FUNCTION history.{table}_%1$s()', event.name, event.tables);
  END LOOP;
END
$do$;
