//! `audited_transaction`: who acted reaches the record, and nothing else does.
