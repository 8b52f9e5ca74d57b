SELECT U&'a'
'b' FROM a