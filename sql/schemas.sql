-- Nothing in these schemas is granted to PUBLIC. Applications are captured without any right in them. Their owner lets
-- roles read the audit log with threadline.grant_reader.
CREATE SCHEMA threadline;
COMMENT ON SCHEMA threadline IS
  'Threadline: who changed what, when and why, and what everything looked like then. What people call and read.';
CREATE SCHEMA threadline_internal;
COMMENT ON SCHEMA threadline_internal IS
  'Threadline: what the functions and views of the schema threadline stand on. It changes without notice.';
