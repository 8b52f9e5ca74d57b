-- A history table with the columns of the audited one: a row for an insert and a delete, and for an update one before and one after it,
-- since what changed is to be told from either. One function serves all tables, and names the one at hand in dynamic SQL.
CREATE SCHEMA history;
CREATE TABLE history.item (LIKE item);
ALTER TABLE history.item
  ADD op          text        NOT NULL,
  ADD captured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ADD txid        bigint      NOT NULL DEFAULT txid_current(),
  ADD actor       jsonb,
  ADD history_id  bigserial   PRIMARY KEY;
CREATE INDEX item_id_idx ON history.item (id, captured_at);
CREATE INDEX item_txid_idx ON history.item (txid);
