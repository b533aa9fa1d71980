-- purpose: what an order that states no margin earns of its revenue: as much as all that state one
-- grain: company
-- units: margin_fraction is margin over revenue, both net of refunds; 1 where no order states a margin
-- owner: growth data
select coalesce(sum(net_margin) / nullif(sum(net_revenue), 0), 1.0)::double as margin_fraction
from staging.orders
where net_margin is not null and order_date <= $as_of
