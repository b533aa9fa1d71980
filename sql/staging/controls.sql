-- purpose: what moves demand beside media: price, promotion, competitors, search demand
-- grain: date x name
-- units: as delivered
-- owner: growth data
select
    date,
    name,
    value
from raw.controls
where date <= $as_of
