CREATE TABLE members (
  id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name  text   NOT NULL,
  email text   NOT NULL UNIQUE,
  role  text   NOT NULL DEFAULT 'guest' CHECK (role IN ('guest', 'member', 'owner'))
);

CREATE TABLE sessions (
  token      text    PRIMARY KEY,
  user_id    text    NOT NULL,
  is_admin   boolean NOT NULL DEFAULT false,
  -- The user that an administrator has logged in as.
  acting_for text
);

SELECT threadline.audit_table('members', mask => '{email}');
SELECT threadline.require_reason('member.role_changed');
