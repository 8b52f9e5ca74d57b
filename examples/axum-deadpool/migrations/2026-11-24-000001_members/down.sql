SELECT threadline.require_reason('member.role_changed', false);
SELECT threadline.unaudit_table('members');
DROP TABLE sessions;
-- The functions that read the audit log of the table go with it; the audit log stays.
DROP TABLE members CASCADE;
