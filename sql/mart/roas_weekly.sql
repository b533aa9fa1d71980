-- purpose: spend and the value platforms claim, per country in every complete week
-- grain: subject (country, or 'all' where no country is known) x week_start
-- units: company currency
-- owner: growth data
select
    coalesce(ads.country, 'all') as subject,
    calendar.week_start,
    sum(ads.cost)::double as spend,
    sum(ads.conversion_value)::double as value
from staging.ad_spend as ads
inner join mart.calendar_weekly as calendar on calendar.week_start = date_trunc('week', ads.date)::date
group by all
order by subject, calendar.week_start
