SELECT threadline.require_reason('member.role_changed', false);
SELECT threadline.unaudit_table('members');
DROP TABLE sessions;
-- The audit log of the table stays.
DROP TABLE members;
