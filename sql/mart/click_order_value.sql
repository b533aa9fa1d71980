-- purpose: what the conversions of each line were worth, and how many came from new customers
-- grain: channel x campaign x keyword
-- units: value_sum in company currency and value_square_sum in its square, over the valued_count conversions whose value
--        is known; new_customers_count of the known_count conversions whose customer is known
-- owner: growth data
select
    channel,
    campaign,
    keyword,
    count(*) as conversions_count,
    count(value) as valued_count,
    coalesce(sum(value), 0)::double as value_sum,
    coalesce(sum((value::double * value::double)::decimal(38, 6)), 0)::double as value_square_sum,
    count(is_new_customer) as known_count,
    count_if(is_new_customer) as new_customers_count
from mart.click_conversions
where clicked_date > $as_of::date - 180 and delay_days >= 0
group by all
order by all
