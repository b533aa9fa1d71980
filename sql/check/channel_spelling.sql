-- purpose: one channel under several spellings, which the models would take for several channels
-- grain: channel
-- units: rows are spellings
-- owner: growth data
-- source: all
-- severity: warning
-- expected: no two channels differ only in capitals, blanks, hyphens or underscores
-- needs: ops.loads.file
with spelled as (
    select channel from spend_daily
    union
    select channel from staging.orders
    union
    select channel from mart.clicks_daily
    union
    select channel from staging.spend_ledger
)
select
    min(channel) as subject,
    format('is spelled {}', string_agg(channel, ', ' order by channel)) as observed,
    count(*) as rows
from spelled
where channel is not null
group by regexp_replace(lower(channel), '[\s_./-]+', '', 'g')
having count(*) > 1
order by subject
