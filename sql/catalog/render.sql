-- Writes SQL from a template that reads like what it becomes: every {name} stands for a value, and a NULL is no text.
-- Braces around anything but a name stay as they are. It reads the template once, and no value again: a {name} in a
-- value stays there.
CREATE FUNCTION threadline_internal.render(template text, names jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  parts text[] := regexp_split_to_array(template, '[{](?=[a-z_]+[}])');  -- all but the first begin with "name}"
  rendered text := parts[1];
  part text;
  name text;
BEGIN
  FOREACH part IN ARRAY parts[2:] LOOP
    name := split_part(part, '}', 1);
    IF NOT names ? name THEN
      RAISE EXCEPTION 'a template names {%}, which is not given', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    rendered := concat(rendered, names ->> name, substr(part, length(name) + 2));
  END LOOP;
  RETURN rendered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.render(text, jsonb) IS
  'A template with a value in place of each {name}; raises an error for a name that is not given.';
