-- A secret can be the key of its table, as a session token is. The key says whose history a change belongs to, so it
-- can be neither masked nor left out. It is recorded as a keyed hash instead: HMAC-SHA256 of its text under a secret of
-- the table, in the type of the column, so that images are still rows of the table.

-- Tells how values of a type are hashed: as text, bytea or uuid; NULL where the type cannot hold a hash. varchar(n) has
-- n + 4 for its typmod, and the hash has 69 characters. char(n) and citext have texts that are equal and have other
-- hashes; so has a collation that is not deterministic.
CREATE FUNCTION threadline_internal.hash_kind(type oid, typmod integer) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  RETURN CASE WHEN base.has_check THEN NULL
    WHEN base.type = 'text'::regtype THEN 'text'
    WHEN base.type = 'varchar'::regtype AND base.typmod NOT BETWEEN 4 AND 72 THEN 'text'
    WHEN base.type IN ('bytea'::regtype, 'uuid'::regtype) THEN base.type::regtype::text END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_kind(oid, integer) IS
  'How values of a type are recorded as a hash: text, bytea or uuid; NULL where they cannot be.';

-- Lists the columns of a table that are recorded as hashes, with how.
CREATE FUNCTION threadline_internal.hash_kinds(relation regclass, columns text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(c.name, k.kind), '{}')
    FROM threadline_internal.columns_of(relation) AS c
    JOIN pg_attribute AS a ON a.attrelid = hash_kinds.relation AND a.attnum = c.number
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
   CROSS JOIN LATERAL threadline_internal.hash_kind(c.type, c.typmod) AS k (kind)
   WHERE c.name = ANY (columns) AND k.kind IS NOT NULL AND coalesce(l.collisdeterministic, true)
$function$;
COMMENT ON FUNCTION threadline_internal.hash_kinds(regclass, text[]) IS
  'Those of these columns whose values can be recorded as hashes, each with how.';

-- Returns what HMAC (RFC 2104) hashes before a message under a secret of at most 64 bytes.
CREATE FUNCTION threadline_internal.hmac_pad(secret bytea, mask integer) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  pad bytea := decode(repeat('00', 64), 'hex');
BEGIN
  FOR i IN 0 .. 63 LOOP
    pad := set_byte(pad, i, mask # CASE WHEN i < length(secret) THEN get_byte(secret, i) ELSE 0 END);
  END LOOP;
  RETURN pad;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hmac_pad(bytea, integer) IS
  'A pad of HMAC-SHA256: of the inner hash with the mask 54, and of the outer hash with 92.';

-- Makes the secret of a table, unless it has one. A random uuid has 122 random bits.
CREATE FUNCTION threadline_internal.create_key_secret(table_id integer) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.key_secrets (table_id, inner_pad, outer_pad)
  SELECT create_key_secret.table_id, threadline_internal.hmac_pad(s.secret, 54),
         threadline_internal.hmac_pad(s.secret, 92)
    FROM (SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) AS secret FROM generate_series(1, 3)) AS s
  ON CONFLICT DO NOTHING
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_secret(integer) IS
  'Makes the secret under which keys of a table are hashed, unless there is one.';

CREATE FUNCTION threadline_internal.has_key_secret(table_id integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM threadline_internal.key_secrets AS s WHERE s.table_id = has_key_secret.table_id)
$function$;
COMMENT ON FUNCTION threadline_internal.has_key_secret(integer) IS
  'Whether there is a secret under which keys of a table are hashed.';

-- Returns the bytes of a text, the same in every encoding that has its characters; where UTF8 has not, those that it
-- has here.
CREATE FUNCTION threadline_internal.bytes_of(value text) RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN convert_to(value, 'UTF8');
EXCEPTION WHEN OTHERS THEN
  RETURN convert_to(value, getdatabaseencoding());
END
$function$;
COMMENT ON FUNCTION threadline_internal.bytes_of(text) IS 'The bytes of a text in UTF8, or as they are.';

-- Writes a hash as a value of the type that it stands for. Neither is a value that anybody else makes: no uuid of any
-- version has the variant of this one.
CREATE FUNCTION threadline_internal.hash_text(kind text, hash bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex')
    -- No backslash stands here: what it means depends on a setting of the session.
    WHEN 'bytea' THEN chr(92) || 'x686d61633a' || encode(hash, 'hex')
    ELSE encode(set_byte(set_byte(substring(hash FROM 1 FOR 16), 6, get_byte(hash, 6) & 15 | 128), 8,
           get_byte(hash, 8) | 224), 'hex')::uuid::text END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_text(text, bytea) IS
  'A hash as the text of a value that stands for a key.';

CREATE FUNCTION threadline_internal.is_hash_text(kind text, value text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN value ~ CASE kind WHEN 'text' THEN '^hmac:[0-9a-f]{64}$' WHEN 'bytea' THEN '^.x686d61633a[0-9a-f]{64}$'
    ELSE '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[ef][0-9a-f]{3}-[0-9a-f]{12}$' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_hash_text(text, text) IS 'Whether the text of a value is that of a hash.';

-- Hashes a value, given as its text. It has the rights of the owner of the audit log, who alone may read the secret: so
-- a reader can find the history of a key that he knows, and test a guess. `given` says that somebody gave the key, who
-- may have it from the audit log. Where the secret is lost, a write goes on all the same, and its key is recorded as
-- one that nobody has.
CREATE FUNCTION threadline_internal.key_hash(table_id integer, kind text, value text, given boolean) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  secret threadline_internal.key_secrets;
  hash bytea;
BEGIN
  IF value IS NULL THEN
    RETURN NULL;
  ELSIF given AND threadline_internal.is_hash_text(kind, value) THEN
    RETURN value;
  END IF;
  SELECT s.* INTO secret FROM threadline_internal.key_secrets AS s WHERE s.table_id = key_hash.table_id;
  hash := CASE WHEN secret.table_id IS NULL THEN sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ELSE sha256(secret.outer_pad || sha256(secret.inner_pad || CASE getdatabaseencoding()
      WHEN 'UTF8' THEN convert_to(value, 'UTF8') ELSE threadline_internal.bytes_of(value) END)) END;
  -- Nearly all are text, and a call takes longer than this.
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex') ELSE threadline_internal.hash_text(kind, hash) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_hash(integer, text, text, boolean) IS
  'The keyed hash that stands for a value in the key of a table: what a reader finds the history of a known key by.';

-- Puts hashes into an image, for the columns that `hashed` names with how. What is no value stays.
CREATE FUNCTION threadline_internal.hashed_image(image jsonb, table_id integer, hashed jsonb,
  given boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  name text;
  kind text;
BEGIN
  FOR name, kind IN SELECT h.key, h.value FROM jsonb_each_text(hashed) AS h LOOP
    IF image ->> name IS NOT NULL THEN
      image := image || jsonb_build_object(name, threadline_internal.key_hash(table_id, kind, image ->> name, given));
    END IF;
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hashed_image(jsonb, integer, jsonb, boolean) IS
  'An image with the hashes of keys in place of their values.';

-- Writes the hash of a column, or of a key that is given, as a value of the type of the column. The text of a bytea
-- depends on a setting.
CREATE FUNCTION threadline_internal.hash_expression(table_id integer, kind text, value text, type text, given boolean)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.key_hash({table_id}, {kind}, {text}, {given})::{type}',
    jsonb_build_object('table_id', table_id, 'kind', quote_literal(kind), 'given', given, 'type', type,
      'text', format(CASE kind WHEN 'bytea' THEN
          $sql$pg_catalog.concat(pg_catalog.chr(92), 'x', pg_catalog.encode((%s)::pg_catalog.bytea, 'hex'))$sql$
        ELSE '(%s)::pg_catalog.text' END, value)))
$function$;
COMMENT ON FUNCTION threadline_internal.hash_expression(integer, text, text, text, boolean) IS
  'SQL for the hash that stands for a value of a column.';

-- Writes a column of a live row as images have it: the hash of it, or the column.
CREATE FUNCTION threadline_internal.recorded_value(audited threadline.audited_tables, name text, value text,
  given boolean DEFAULT false) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN recorded_value.name <> ALL (audited.hashed_columns) THEN recorded_value.value ELSE coalesce((
    SELECT threadline_internal.hash_expression(audited.id, h.kind, recorded_value.value,
             threadline_internal.type_name(c.type, c.typmod), given)
      FROM threadline_internal.columns_of(audited.relation) AS c
     CROSS JOIN LATERAL (SELECT threadline_internal.hash_kinds(audited.relation, ARRAY[c.name]) ->> c.name) AS h (kind)
     WHERE c.name = recorded_value.name AND h.kind IS NOT NULL), recorded_value.value) END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_value(threadline.audited_tables, text, text, boolean) IS
  'SQL for a value of a column as the audit log has it, where the column may be recorded as a hash.';

-- Lists the columns of a table that are not recorded in clear.
CREATE FUNCTION threadline_internal.redacted_names(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.masked_columns || audited.excluded_columns || audited.hashed_columns
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_names(threadline.audited_tables) IS
  'The columns of a table that are masked, excluded or recorded as a hash, or ever were.';

-- Says why the keys of before are not those of now, where hashing began or ended; NULL where it did not.
CREATE FUNCTION threadline_internal.hash_gap(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  key record;
BEGIN
  IF before.id IS NULL OR before.hashed_columns || audited.hashed_columns = '{}' THEN
    RETURN NULL;
  ELSIF before.hashed_columns <> '{}' AND NOT threadline_internal.has_key_secret(before.id) THEN
    RETURN 'the secret of its hashed keys was lost';
  END IF;
  FOR key IN
    SELECT k.name, k.name = ANY (audited.hashed_columns) AS is_hashed, coalesce((
             SELECT d.key FROM jsonb_each(before.definition -> 'columns') AS d
              WHERE d.value ->> 'number' = audited.definition #>> ARRAY['columns', k.name, 'number']
                AND threadline_internal.is_described(audited.relation, before.definition)), k.name)
             = ANY (before.hashed_columns) AS was_hashed
      FROM unnest(audited.key_columns) AS k (name) LOOP
    IF key.is_hashed AND NOT key.was_hashed THEN
      RETURN format('key column %I is recorded as a hash since then; what was recorded before has it in clear',
        key.name);
    ELSIF key.was_hashed AND NOT key.is_hashed THEN
      RETURN format('key column %I is recorded in clear since then, and as a hash before', key.name);
    END IF;
  END LOOP;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_gap(threadline.audited_tables, threadline.audited_tables) IS
  'Why the keys that were recorded before are not those that are recorded now; NULL where they are.';
