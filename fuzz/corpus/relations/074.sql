SELECT 'a'
  'b' FROM a