-- enable_nestloop: the plan of an update is kept, and one made for a single row would take hours for the bulk update that comes next.
DO $do$
DECLARE
  event record;
  columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0);
BEGIN
  FOR event IN SELECT * FROM (VALUES ('insert', 'NEW TABLE AS new_rows', 'new_rows AS r'),
      ('update', 'OLD TABLE AS old_rows NEW TABLE AS new_rows', 'new_rows AS r JOIN old_rows AS o ON o.id = r.id WHERE o IS DISTINCT FROM r'),
      ('delete', 'OLD TABLE AS old_rows', 'old_rows AS r')) AS e (name, tables, rows) LOOP
    EXECUTE format($$CREATE FUNCTION history.%1$s() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS 'DECLARE
        context uuid := history.attach_context();
      BEGIN
        INSERT INTO history.item (created_at, label, %2$s, item_id, context_id)
        SELECT now(), ''%1$s'', %3$s, r.id, context FROM %4$s;
        RETURN NULL;
      END'$$, event.name, columns, regexp_replace(columns, '([^, ]+)', 'r.\1', 'g'), event.rows);
    EXECUTE format('CREATE TRIGGER capture_%1$s AFTER %1$s ON item REFERENCING %2$s FOR EACH STATEMENT EXECUTE FUNCTION history.%1$s()', event.name, event.tables);
  END LOOP;
END
$do$;
