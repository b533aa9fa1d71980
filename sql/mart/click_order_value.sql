-- purpose: what the conversions of each line were worth, and how many came from new customers
-- grain: channel x campaign x keyword
-- units: value_sum and margin_sum in company currency, value_square_sum and margin_square_sum in its square, over the
--        valued_count conversions whose value is known; new_customers_count of the known_count conversions whose
--        customer is known
-- owner: growth data
select
    channel,
    campaign,
    keyword,
    count(*) as conversions_count,
    count(value) as valued_count,
    coalesce(sum(value), 0)::double as value_sum,
    coalesce(sum((value::double * value::double)::decimal(38, 6)), 0)::double as value_square_sum,
    coalesce(sum(margin), 0)::double as margin_sum,
    coalesce(sum((margin::double * margin::double)::decimal(38, 6)), 0)::double as margin_square_sum,
    count(is_new_customer) as known_count,
    count_if(is_new_customer) as new_customers_count
from mart.click_conversions
where clicked_date > $as_of::date - 180 and delay_days >= 0
group by all
order by all
