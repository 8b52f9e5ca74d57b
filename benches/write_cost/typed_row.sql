DO $do$
DECLARE
  event record;
  columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0);
  key text := nullif('{key}', '');
BEGIN
  FOR event IN SELECT * FROM (VALUES ('insert', 'NEW', ''), ('update', 'NEW', 'WHEN (OLD.* IS DISTINCT FROM NEW.*)'), ('delete', 'OLD', '')) AS e (name, row, condition) LOOP
    EXECUTE format($$CREATE FUNCTION history.{table}_%1$s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        INSERT INTO history.{table} (created_at, label, %2$s, {table}_id, context_id)
        VALUES (now(), ''%1$s'', %3$s, %4$s, history.attach_context());
        RETURN NULL;
      END'$$, event.name, columns, regexp_replace(columns, '([^, ]+)', event.row || '.\1', 'g'), coalesce(event.row || '.' || key, 'NULL'));
    EXECUTE format('CREATE TRIGGER capture_%1$s AFTER %1$s ON {table} FOR EACH ROW %2$s EXECUTE FUNCTION history.{table}_%1$s()', event.name, event.condition);
  END LOOP;
END
$do$;
