DO $do$
DECLARE
  event record;
  columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0);
BEGIN
  FOR event IN SELECT * FROM (VALUES ('insert', 'NEW', ''), ('update', 'NEW', 'WHEN (OLD.* IS DISTINCT FROM NEW.*)'), ('delete', 'OLD', '')) AS e (name, row, condition) LOOP
    EXECUTE format($$CREATE FUNCTION history.%1$s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        INSERT INTO history.item (created_at, label, %2$s, item_id, context_id)
        VALUES (now(), ''%1$s'', %3$s, %4$s.id, history.attach_context());
        RETURN NULL;
      END'$$, event.name, columns, regexp_replace(columns, '([^, ]+)', event.row || '.\1', 'g'), event.row);
    EXECUTE format('CREATE TRIGGER capture_%1$s AFTER %1$s ON item FOR EACH ROW %2$s EXECUTE FUNCTION history.%1$s()', event.name, event.condition);
  END LOOP;
END
$do$;
