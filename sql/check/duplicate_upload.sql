-- purpose: files that were delivered twice
-- grain: source x content of a file
-- units: rows are those of the second and later copies
-- owner: growth data
-- source: all
-- severity: warning
-- expected: no two files of a source have the same content
-- needs: ops.loads.file_sha256
select
    source as subject,
    format('the files {} are the same', string_agg(file, ', ' order by file)) as observed,
    sum(rows_read) - max(rows_read) as rows
from ops.loads
where not is_gone
group by source, file_sha256
having count(*) > 1
order by source, observed
