-- In the making.
select 1;
