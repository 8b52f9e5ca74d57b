-- Renders SQL from a template that looks like its result. Every {name} stands for a value, and a NULL value becomes
-- empty text. Braces around anything but a name stay unchanged. The template is scanned once, and values are not: a
-- {name} in a value stays unchanged.
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
  'A template with each {name} replaced by its value; raises an error for a name that is not given.';
