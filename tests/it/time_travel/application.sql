-- The migrations of an application, in the manner of large ones: a forum with a registry of packages.
-- `--- name` begins one. What stands in its lines `-- …` is for the test:
--   alone                        it does not run in a transaction
--   converts TABLE.COLUMN: SQL   what it makes of the values of a column, as an expression of the old ones
--   declares TABLE.COLUMN: SQL   what is said of it afterwards with threadline.declare_conversion
--   unrecorded TABLE             it changes rows without its triggers: the history must begin anew
--   anew TABLE                   the history may begin anew, with a reason
--- people
CREATE TABLE people (id serial PRIMARY KEY, name text NOT NULL, email text, published timestamp NOT NULL DEFAULT '2026-01-01',
  banned boolean NOT NULL DEFAULT false, inbox_url text, shared_inbox_url text);
--- communities
CREATE TYPE visibility AS ENUM ('Public', 'LocalOnly');
CREATE TABLE communities (id integer PRIMARY KEY, name varchar(40) NOT NULL, title text,
  visibility visibility NOT NULL DEFAULT 'Public', removed boolean NOT NULL DEFAULT false, updated timestamp);
--- posts
CREATE TABLE posts (id serial PRIMARY KEY, creator_id integer NOT NULL REFERENCES people ON DELETE CASCADE, community_id integer,
  name text NOT NULL, body text, score integer NOT NULL DEFAULT 0, published timestamp);
CREATE INDEX posts_creator ON posts (creator_id);
--- comments
CREATE TABLE comments (id bigserial PRIMARY KEY, post_id integer, parent_id bigint, content text NOT NULL, path text);
--- crates
CREATE TABLE crates (id integer PRIMARY KEY, name varchar(64) NOT NULL, max_version text, downloads integer NOT NULL DEFAULT 0,
  price integer NOT NULL DEFAULT 0, created_at timestamp NOT NULL DEFAULT '2026-01-01', keywords text[], meta jsonb);
CREATE TYPE version_state AS ENUM ('draft', 'live', 'yanked');
CREATE TABLE versions (id integer PRIMARY KEY, crate_id integer, num text NOT NULL, state version_state NOT NULL DEFAULT 'draft');
--- version_downloads
CREATE TABLE version_downloads (id serial PRIMARY KEY, version_id integer NOT NULL, date date NOT NULL,
  downloads integer NOT NULL DEFAULT 1);
--- post_likes
CREATE TABLE post_likes (person_id integer, post_id integer, score smallint NOT NULL, PRIMARY KEY (person_id, post_id));
--- sessions
CREATE TABLE sessions (token uuid PRIMARY KEY, person_id integer, agent text, seen timestamp with time zone);
--- settings_and_log
CREATE TABLE settings (name text PRIMARY KEY, value text);
CREATE TABLE deliveries (target text, attempts integer, payload jsonb);
--- post_url
ALTER TABLE posts ADD COLUMN url text;
--- post_locked
ALTER TABLE posts ADD COLUMN locked boolean NOT NULL DEFAULT false;
--- post_body_dropped
ALTER TABLE posts DROP COLUMN body;
--- post_title
ALTER TABLE posts RENAME COLUMN name TO title;
--- no_individual_inboxes
ALTER TABLE people DROP COLUMN inbox_url;
ALTER TABLE people RENAME COLUMN shared_inbox_url TO inbox_url;
--- exchange_title_and_url
UPDATE posts SET url = 'none' WHERE url IS NULL;
ALTER TABLE posts ALTER COLUMN url SET NOT NULL;
ALTER TABLE posts RENAME COLUMN url TO url_old;
ALTER TABLE posts RENAME COLUMN title TO url;
ALTER TABLE posts RENAME COLUMN url_old TO title;
--- downloads_bigint
-- converts crates.downloads: downloads::bigint
ALTER TABLE crates ALTER COLUMN downloads TYPE bigint;
--- longer_names
ALTER TABLE communities ALTER COLUMN name TYPE varchar(200);
-- converts communities.name: name
--- crate_name_text
-- converts crates.name: name::text
ALTER TABLE crates ALTER COLUMN name TYPE text;
--- timezones
-- converts crates.created_at: created_at AT TIME ZONE 'UTC'
-- declares crates.created_at: created_at AT TIME ZONE 'UTC'
ALTER TABLE crates ALTER COLUMN created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC';
--- price_in_units
-- converts crates.price: (price / 100.0)::numeric(10,2)
-- declares crates.price: price / 100.0
ALTER TABLE crates ALTER COLUMN price DROP DEFAULT, ALTER COLUMN price TYPE numeric(10,2) USING price / 100.0,
  ALTER COLUMN price SET DEFAULT 0;
--- private_communities
ALTER TYPE visibility RENAME VALUE 'LocalOnly' TO 'LocalOnlyPrivate';
--- unlisted_communities
-- alone
ALTER TYPE visibility ADD VALUE IF NOT EXISTS 'Unlisted';
--- visibility_made_anew
-- converts communities.visibility: CASE visibility::text WHEN 'LocalOnlyPrivate' THEN 'Private' ELSE visibility::text END
ALTER TYPE visibility RENAME TO visibility_old;
CREATE TYPE visibility AS ENUM ('Public', 'Private', 'Unlisted');
ALTER TABLE communities ALTER COLUMN visibility DROP DEFAULT;
ALTER TABLE communities ALTER COLUMN visibility TYPE visibility
  USING (CASE visibility::text WHEN 'LocalOnlyPrivate' THEN 'Private' ELSE visibility::text END)::visibility;
ALTER TABLE communities ALTER COLUMN visibility SET DEFAULT 'Public';
DROP TYPE visibility_old;
--- listing_text
ALTER TABLE people ADD COLUMN listing text NOT NULL DEFAULT 'all';
--- listing_enum
-- converts people.listing: listing::text
CREATE TYPE listing AS ENUM ('all', 'local', 'subscribed');
UPDATE people SET listing = 'local' WHERE listing NOT IN ('all', 'subscribed');
ALTER TABLE people ALTER COLUMN listing DROP DEFAULT;
ALTER TABLE people ALTER COLUMN listing TYPE listing USING listing::listing;
ALTER TABLE people ALTER COLUMN listing SET DEFAULT 'all';
--- state_number
-- converts versions.state: 0
ALTER TABLE versions ALTER COLUMN state DROP DEFAULT;
ALTER TABLE versions ALTER COLUMN state TYPE integer USING 0;
DROP TYPE version_state;
--- downloads_by_day
-- anew version_downloads
DELETE FROM version_downloads AS d USING version_downloads AS e
 WHERE (d.version_id, d.date) = (e.version_id, e.date) AND d.id > e.id;
ALTER TABLE version_downloads DROP COLUMN id, ADD PRIMARY KEY (version_id, date);
--- like_ids
-- anew post_likes
ALTER TABLE post_likes DROP CONSTRAINT post_likes_pkey;
ALTER TABLE post_likes ADD COLUMN id serial PRIMARY KEY;
--- recount_scores
-- unrecorded posts
ALTER TABLE posts DISABLE TRIGGER ALL;
UPDATE posts SET score = score + 1;
ALTER TABLE posts ENABLE TRIGGER ALL;
--- post_actions
ALTER TABLE post_likes RENAME TO post_actions;
ALTER SEQUENCE post_likes_id_seq RENAME TO post_actions_id_seq;
--- action_columns
ALTER TABLE post_actions ADD COLUMN saved boolean, ADD COLUMN hidden boolean NOT NULL DEFAULT false;
ALTER TABLE post_actions ALTER COLUMN score DROP NOT NULL;
ALTER TABLE post_actions RENAME COLUMN score TO vote;
--- comments_swapped
ALTER TABLE comments RENAME TO comments_old;
CREATE TABLE comments (id bigint PRIMARY KEY, post_id integer, content text NOT NULL, path text NOT NULL, edited boolean);
INSERT INTO comments SELECT id, post_id, content, coalesce(path, '0'), false FROM comments_old;
DROP TABLE comments_old;
--- versions_dropped
DROP TABLE versions;
--- versions_of_another_shape
CREATE TABLE versions (id integer PRIMARY KEY, num text NOT NULL, license varchar(20), yanked boolean NOT NULL DEFAULT false);
--- name_length
ALTER TABLE crates ADD COLUMN name_length integer GENERATED ALWAYS AS (length(name)) STORED;
--- titles_required
UPDATE communities SET title = name WHERE title IS NULL;
ALTER TABLE communities ALTER COLUMN title SET NOT NULL;
--- slugs
ALTER TABLE communities ADD COLUMN slug text;
UPDATE communities SET slug = lower(name) || id;
ALTER TABLE communities ALTER COLUMN slug SET NOT NULL;
--- archive
CREATE TABLE posts_archive (LIKE posts INCLUDING ALL);
INSERT INTO posts_archive SELECT * FROM posts WHERE score > 3;
--- view_of_posts
CREATE VIEW post_view AS SELECT p.id, p.title, u.name FROM posts AS p JOIN people AS u ON u.id = p.creator_id;
--- names_shorter_under_the_view
-- converts posts.title: left(title, 30)::varchar(30)
DROP VIEW post_view;
ALTER TABLE posts ALTER COLUMN title TYPE varchar(30) USING left(title, 30);
CREATE VIEW post_view AS SELECT p.id, p.title FROM posts AS p;
--- counters
ALTER TABLE people ADD COLUMN post_count integer NOT NULL DEFAULT 0;
CREATE FUNCTION count_posts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN UPDATE people SET post_count = post_count + 1 WHERE id = NEW.creator_id; RETURN NEW; END IF;
  UPDATE people SET post_count = post_count - 1 WHERE id = OLD.creator_id; RETURN OLD;
END $$;
CREATE TRIGGER count_posts AFTER INSERT OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION count_posts();
--- counters_made_anew
DROP TRIGGER count_posts ON posts;
DROP FUNCTION count_posts();
CREATE FUNCTION count_posts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE people SET post_count = post_count + CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END
   WHERE id = CASE TG_OP WHEN 'INSERT' THEN NEW.creator_id ELSE OLD.creator_id END;
  RETURN NULL;
END $$;
CREATE TRIGGER count_posts AFTER INSERT OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION count_posts();
--- registry_schema
CREATE SCHEMA registry;
ALTER TABLE crates SET SCHEMA registry;
ALTER TABLE versions SET SCHEMA registry;
--- aggregates
CREATE TABLE post_aggregates (post_id integer PRIMARY KEY, comments integer NOT NULL DEFAULT 0, hot numeric NOT NULL DEFAULT 0);
INSERT INTO post_aggregates SELECT id FROM posts;
--- aggregates_smooshed
-- unrecorded posts
ALTER TABLE posts ADD COLUMN comments integer NOT NULL DEFAULT 0, ADD COLUMN hot numeric NOT NULL DEFAULT 0;
ALTER TABLE posts DISABLE TRIGGER ALL;
UPDATE posts SET comments = a.comments, hot = a.hot FROM post_aggregates AS a WHERE a.post_id = posts.id;
ALTER TABLE posts ENABLE TRIGGER ALL;
DROP TABLE post_aggregates;
--- aggregates_apart_again
CREATE TABLE post_aggregates (post_id integer PRIMARY KEY, comments integer NOT NULL DEFAULT 0, hot numeric NOT NULL DEFAULT 0);
INSERT INTO post_aggregates SELECT id, comments, hot FROM posts;
ALTER TABLE posts DROP COLUMN comments, DROP COLUMN hot;
--- aggregates_smooshed_with_records
ALTER TABLE posts ADD COLUMN comments integer, ADD COLUMN hot numeric;
UPDATE posts SET comments = a.comments, hot = a.hot FROM post_aggregates AS a WHERE a.post_id = posts.id;
DROP TABLE post_aggregates CASCADE;
--- bigint_people
-- converts people.id: id::bigint
-- converts posts.creator_id: creator_id::bigint
ALTER TABLE people ALTER COLUMN id TYPE bigint;
ALTER TABLE posts ALTER COLUMN creator_id TYPE bigint;
--- session_key_renamed
ALTER TABLE sessions RENAME COLUMN token TO id;
--- session_key_text
-- converts sessions.id: id::text
ALTER TABLE sessions ALTER COLUMN id TYPE text;
--- shouting
-- converts communities.title: upper(title)
-- declares communities.title: upper(title)
ALTER TABLE communities ALTER COLUMN title TYPE text USING upper(title);
--- renumbered_communities
-- converts communities.id: id::bigint + 1000
-- anew communities
ALTER TABLE communities ALTER COLUMN id TYPE bigint USING id + 1000;
--- license_number
ALTER TABLE registry.versions DROP COLUMN license;
ALTER TABLE registry.versions ADD COLUMN license integer;
--- license_number_again
ALTER TABLE registry.versions DROP COLUMN license;
ALTER TABLE registry.versions ADD COLUMN license integer NOT NULL DEFAULT 7;
--- delivery_key
-- anew deliveries
ALTER TABLE deliveries ADD COLUMN id bigserial PRIMARY KEY;
--- delivery_key_gone
-- anew deliveries
ALTER TABLE deliveries DROP COLUMN id;
--- settings_by_number
-- anew settings
ALTER TABLE settings DROP CONSTRAINT settings_pkey, ADD COLUMN id serial, ADD PRIMARY KEY (id);
--- settings_by_name_and_id
-- anew settings
ALTER TABLE settings DROP CONSTRAINT settings_pkey, ADD PRIMARY KEY (name, id);
--- settings_by_name_again
-- anew settings
DELETE FROM settings AS s USING settings AS t WHERE s.name = t.name AND s.id > t.id;
ALTER TABLE settings DROP COLUMN id, ADD PRIMARY KEY (name);
--- vote_enum
-- converts post_actions.vote: CASE WHEN vote > 0 THEN 'up' WHEN vote <= 0 THEN 'down' END
CREATE TYPE vote AS ENUM ('up', 'down');
ALTER TABLE post_actions ALTER COLUMN vote TYPE vote
  USING (CASE WHEN vote > 0 THEN 'up' WHEN vote <= 0 THEN 'down' END)::vote;
--- vote_labels
ALTER TYPE vote RENAME VALUE 'up' TO 'plus';
ALTER TYPE vote RENAME VALUE 'down' TO 'up';
ALTER TYPE vote RENAME VALUE 'plus' TO 'down';
--- vote_boolean
-- converts post_actions.vote: vote::text = 'up'
-- declares post_actions.vote: vote = 'up'
ALTER TABLE post_actions ALTER COLUMN vote TYPE boolean USING vote = 'up';
DROP TYPE vote;
--- meta_text
-- converts registry.crates.meta: meta::text
ALTER TABLE registry.crates ALTER COLUMN meta TYPE text;
--- meta_json_again
-- converts registry.crates.meta: to_jsonb(meta)
ALTER TABLE registry.crates ALTER COLUMN meta TYPE jsonb USING to_jsonb(meta);
--- keywords_joined
-- converts registry.crates.keywords: array_to_string(keywords, ' ')
ALTER TABLE registry.crates ALTER COLUMN keywords TYPE text USING array_to_string(keywords, ' ');
--- tables_exchange_names
ALTER TABLE posts_archive RENAME TO posts_new;
ALTER TABLE posts RENAME TO posts_archive;
ALTER TABLE posts_new RENAME TO posts;
DROP VIEW post_view;
--- tables_exchange_names_back
ALTER TABLE posts RENAME TO posts_new;
ALTER TABLE posts_archive RENAME TO posts;
ALTER TABLE posts_new RENAME TO posts_archive;
--- user_triggers_off
-- unrecorded posts_archive
ALTER TABLE posts_archive DISABLE TRIGGER USER;
UPDATE posts_archive SET score = 0;
ALTER TABLE posts_archive ENABLE TRIGGER USER;
--- downloads_partitioned
-- anew version_downloads
ALTER TABLE version_downloads RENAME TO version_downloads_2026;
ALTER TABLE version_downloads_2026 RENAME CONSTRAINT version_downloads_pkey TO version_downloads_2026_pkey;
ALTER TABLE version_downloads_2026 ADD CHECK (date >= '2026-01-01' AND date < '2027-01-01');
CREATE TABLE version_downloads (version_id integer NOT NULL, date date NOT NULL, downloads integer NOT NULL DEFAULT 1,
  PRIMARY KEY (version_id, date)) PARTITION BY RANGE (date);
ALTER TABLE version_downloads ATTACH PARTITION version_downloads_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
--- another_partition
CREATE TABLE version_downloads_2027 PARTITION OF version_downloads FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
--- downloads_bigint_in_partitions
-- converts version_downloads.downloads: downloads::bigint
ALTER TABLE version_downloads ALTER COLUMN downloads TYPE bigint;
--- downloads_in_one_table_again
ALTER TABLE version_downloads RENAME TO version_downloads_old;
CREATE TABLE version_downloads (version_id integer NOT NULL, date date NOT NULL, downloads bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (version_id, date));
INSERT INTO version_downloads SELECT * FROM version_downloads_old;
DROP TABLE version_downloads_old;
--- sessions_emptied
TRUNCATE sessions;
ALTER TABLE sessions DROP COLUMN agent;
--- sessions_hashed
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN hash text NOT NULL;
--- emails_apart
CREATE TABLE emails (person_id bigint PRIMARY KEY, email text NOT NULL, verified boolean NOT NULL DEFAULT false);
INSERT INTO emails SELECT id, email FROM people WHERE email IS NOT NULL;
ALTER TABLE people DROP COLUMN email;
--- emails_back
ALTER TABLE people ADD COLUMN email text;
UPDATE people SET email = e.email FROM emails AS e WHERE e.person_id = people.id;
DROP TABLE emails;
--- three_columns_at_once
-- converts people.published: published AT TIME ZONE 'UTC'
-- converts people.post_count: post_count::bigint
-- converts people.banned: banned::integer
ALTER TABLE people ALTER COLUMN banned DROP DEFAULT, ALTER COLUMN published DROP DEFAULT,
  ALTER COLUMN published TYPE timestamptz USING published AT TIME ZONE 'UTC', ALTER COLUMN post_count TYPE bigint,
  ALTER COLUMN banned TYPE integer USING banned::integer;
--- banned_back
-- converts people.banned: banned <> 0
ALTER TABLE people ALTER COLUMN banned TYPE boolean USING banned <> 0, ALTER COLUMN banned SET DEFAULT false;
--- published_in_new_york
-- converts people.published: published AT TIME ZONE 'America/New_York'
ALTER TABLE people ALTER COLUMN published TYPE timestamp USING published AT TIME ZONE 'America/New_York';
--- listing_labels
ALTER TYPE listing RENAME VALUE 'local' TO 'near';
--- email_domain
CREATE DOMAIN email_address AS text CHECK (value <> 'never');
-- converts people.email: email::text
ALTER TABLE people ALTER COLUMN email TYPE email_address;
--- email_text
-- converts people.email: email::text
ALTER TABLE people ALTER COLUMN email TYPE text;
DROP DOMAIN email_address;
--- rows_copied_into_a_new_table
CREATE TABLE settings_new AS SELECT name, value, 0 AS version FROM settings;
ALTER TABLE settings_new ADD PRIMARY KEY (name);
DROP TABLE settings;
ALTER TABLE settings_new RENAME TO settings;
--- listing_text_again
-- converts people.listing: listing::text
ALTER TABLE people ALTER COLUMN listing TYPE text;
--- out_of_the_registry
ALTER TABLE registry.versions SET SCHEMA public;
ALTER TABLE registry.crates SET SCHEMA public;
DROP SCHEMA registry;
--- deferred_key
CREATE TABLE threads (id integer PRIMARY KEY, root_id integer NOT NULL REFERENCES threads DEFERRABLE INITIALLY DEFERRED, note text);
INSERT INTO threads VALUES (1, 2, 'a'), (2, 1, 'b'), (3, 3, 'c');
--- deferred_updates
ALTER TABLE threads ADD COLUMN depth integer NOT NULL DEFAULT 0;
UPDATE threads SET root_id = 3, note = 'deferred';
--- in_a_block
-- converts threads.depth: depth::text
DO $$
BEGIN
  ALTER TABLE threads ALTER COLUMN depth DROP DEFAULT;
  ALTER TABLE threads ALTER COLUMN depth TYPE text;
EXCEPTION WHEN undefined_table THEN NULL;
END $$;
--- in_two_forms
-- converts threads.note: note || '!'
ALTER TABLE threads ALTER COLUMN note TYPE text USING note || '!';
UPDATE threads SET note = note || '?';
--- dropped_with_its_rows
DELETE FROM posts_archive;
DROP TABLE posts_archive;
DROP TABLE threads;
--- indexes_and_defaults
CREATE INDEX crates_name ON crates (lower(name));
ALTER TABLE crates ALTER COLUMN downloads SET DEFAULT 5, ALTER COLUMN max_version SET STORAGE EXTERNAL;
ALTER TABLE posts RENAME CONSTRAINT posts_pkey TO posts_key;
COMMENT ON TABLE posts IS 'What people write.';
--- the_last
ALTER TABLE posts DROP COLUMN published, ADD COLUMN published timestamptz;
