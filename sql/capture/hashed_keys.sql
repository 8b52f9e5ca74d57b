-- A secret, such as a session token, can be the key of its table. The key identifies the row of a change, so it can be
-- neither masked nor excluded. It is recorded as a keyed hash instead: HMAC-SHA256 of its text under a secret of the
-- table, in the type of the column, so that images are still rows of the table.

-- Returns how values of a type are hashed: as text, bytea or uuid; NULL if the type cannot store a hash. The typmod of
-- varchar(n) is n + 4, and the hash has 69 characters. char(n), citext and nondeterministic collations are not
-- supported, because texts that are equal there have different hashes.
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

-- Returns the columns of a table that are recorded as hashes, each with its kind of hash.
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
  'Those of the given columns whose values can be recorded as hashes, each with its kind of hash.';

-- Returns what HMAC (RFC 2104) hashes before a message, for a secret of at most 64 bytes.
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
  'A pad of HMAC-SHA256: for the inner hash with the mask 54, for the outer hash with 92.';

-- Creates the secret of a table, unless it has one. A random uuid has 122 random bits.
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
  'Creates the secret for hashing the keys of a table, unless there is one.';

CREATE FUNCTION threadline_internal.has_key_secret(table_id integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM threadline_internal.key_secrets AS s WHERE s.table_id = has_key_secret.table_id)
$function$;
COMMENT ON FUNCTION threadline_internal.has_key_secret(integer) IS
  'Whether there is a secret for hashing the keys of a table.';

-- Returns the bytes of a text, identical in every encoding that has its characters. If UTF8 does not have them, returns
-- their bytes in the encoding of this database.
CREATE FUNCTION threadline_internal.bytes_of(value text) RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN convert_to(value, 'UTF8');
EXCEPTION WHEN OTHERS THEN
  RETURN convert_to(value, getdatabaseencoding());
END
$function$;
COMMENT ON FUNCTION threadline_internal.bytes_of(text) IS 'The bytes of a text in UTF8, or its unconverted bytes.';

-- Returns a hash as a value of the column type. Nobody else generates such a value: no uuid of any version has the
-- variant of this one.
CREATE FUNCTION threadline_internal.hash_text(kind text, hash bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex')
    -- chr(92) instead of a backslash, whose meaning depends on a setting of the session.
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
COMMENT ON FUNCTION threadline_internal.is_hash_text(text, text) IS 'Whether the text of a value is a hash.';

-- Hashes a value, given as its text. It runs with the rights of the owner of the audit log, who alone may read the
-- secret, so a reader can find the history of a known key, and test a guess. `given` says that a user passed the key,
-- and may have it from the audit log. If the secret is lost, a write still succeeds, and its key is recorded as one
-- that no row has.
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
  -- Nearly all hashes are text, and a function call takes longer than this.
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex') ELSE threadline_internal.hash_text(kind, hash) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_hash(integer, text, text, boolean) IS
  'The keyed hash that stands for a value in the key of a table. With it, a reader can find the history of a known '
  'key.';

-- Replaces values in an image by their hashes, for the columns in `hashed`, which gives the kind of hash. NULLs stay
-- unchanged.
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
  'An image with hashes in place of the values of keys.';

-- Returns SQL for the hash of a column, or of a given key, as a value of the column type. The text of a bytea depends
-- on a setting.
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

-- Returns SQL for a column of a live row as images have it: its hash, or the column itself.
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
  'SQL for a value of a column as the audit log stores it, if the column may be recorded as a hash.';

-- Returns the columns of a table that are not recorded in clear.
CREATE FUNCTION threadline_internal.redacted_names(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.masked_columns || audited.excluded_columns || audited.hashed_columns
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_names(threadline.audited_tables) IS
  'The columns of a table that are or ever were masked, excluded or recorded as a hash.';

-- Returns why earlier keys differ from present ones because hashing began or ended; NULL if it did neither.
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
  'Why previously recorded keys differ from those recorded now; NULL if they do not.';
