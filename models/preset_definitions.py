"""What each platform calls the columns of our sources, as plain data.

Per column of ours: the names it goes by, the most telling first, each with what is done to its values (nothing,
`micros`, `hash`, `slug:<prefix>`; see `models.presets.Matched`). `{currency}` stands for an ISO 4217 code.

Sources: Google Ads API fields (campaign, segments, metrics) and BigQuery transfer tables (the same with `_`); Google
Ads report editor, English and German; Microsoft Advertising Reporting Service v13 columns, with the names that the
web interface gives them; Meta Marketing API insights fields and Ads Reporting, English and German; Google Analytics
Data API v1 metrics and GA4 reports, English and German; Shopify order export, Admin REST API order.
"""

from collections.abc import Mapping

Names = Mapping[str, Mapping[str, str]]


def _names(*names: str, then: str = "") -> dict[str, str]:
    return dict.fromkeys(names, then)


GOOGLE_ADS: Names = {
    "date": _names("Day", "Tag", "segments.date", "segments_date", "Date", "Datum"),
    "channel": _names(
        "Campaign type",
        "Kampagnentyp",
        "campaign.advertising_channel_type",
        "campaign.advertisingChannelType",
        "campaign_advertising_channel_type",
        "advertising_channel_type",
        then="slug:google_",
    ),
    "campaign": _names(
        "Campaign",
        "Campaign name",
        "Kampagne",
        "campaign.name",
        "campaign_name",
        "Campaign ID",
        "Kampagnen-ID",
        "campaign.id",
        "campaign_id",
    ),
    "ad_group": _names(
        "Ad group",
        "Ad group name",
        "Anzeigengruppe",
        "ad_group.name",
        "adGroup.name",
        "ad_group_name",
        "Asset group",
        "Asset-Gruppe",
        "Ad group ID",
        "ad_group.id",
        "ad_group_id",
    ),
    "country": _names("Country/Territory", "Country/Territory (User location)", "Country/Territory (Matched)"),
    "device": _names("Device", "Gerät", "segments.device", "segments_device"),
    "cost": {
        **_names("Cost", "Kosten"),
        **_names("metrics.cost_micros", "metrics.costMicros", "metrics_cost_micros", "cost_micros", then="micros"),
    },
    "impressions": _names("Impr.", "Impressions", "Impressionen", "metrics.impressions", "metrics_impressions"),
    "clicks": _names("Clicks", "Klicks", "metrics.clicks", "metrics_clicks"),
    "conversions": _names("Conversions", "Conv.", "metrics.conversions", "metrics_conversions"),
    "conversion_value": _names(
        "Conv. value",
        "Conversion value",
        "Total conv. value",
        "Conv.-Wert",
        "Conversion-Wert",
        "metrics.conversions_value",
        "metrics.conversionsValue",
        "metrics_conversions_value",
        "conversions_value",
    ),
    "currency": _names(
        "Currency code",
        "Währungscode",
        "customer.currency_code",
        "customer.currencyCode",
        "customer_currency_code",
        "currency_code",
        "Currency",
        "Währung",
    ),
}

MICROSOFT_ADS: Names = {
    "date": _names("TimePeriod", "Time period", "GregorianDate", "Gregorian date", "Day", "Date"),
    "channel": _names("CampaignType", "Campaign type", "Campaign_Type", then="slug:microsoft_"),
    "campaign": _names("CampaignName", "Campaign name", "Campaign", "Campaign_Name", "CampaignId", "Campaign ID"),
    "ad_group": _names("AdGroupName", "Ad group name", "Ad group", "AdGroupId", "Ad group ID"),
    "country": _names("Country", "Country/region", "Country/Region"),
    "device": _names("DeviceType", "Device type", "Device"),
    "cost": _names("Spend", "Spend ({currency})"),
    "impressions": _names("Impressions", "Impr."),
    "clicks": _names("Clicks"),
    "conversions": _names("ConversionsQualified", "Conversions qualified", "Conversions", "Conv."),
    "conversion_value": _names("Revenue", "Conv. value", "Conversion value"),
    "currency": _names("CurrencyCode", "Currency code", "Currency"),
}

META_ADS: Names = {
    "date": _names("Day", "Tag", "date_start", "Date", "Datum"),
    "channel": _names("Platform", "Plattform", "Publisher platform", "publisher_platform", then="slug:meta_"),
    "campaign": _names(
        "Campaign name",
        "Kampagnenname",
        "Name der Kampagne",
        "campaign_name",
        "Campaign ID",
        "Kampagnen-ID",
        "campaign_id",
    ),
    "ad_group": _names(
        "Ad set name",
        "Name der Anzeigengruppe",
        "Anzeigengruppenname",
        "adset_name",
        "Ad set ID",
        "Anzeigengruppen-ID",
        "adset_id",
    ),
    "country": _names("Country", "Land"),
    "device": _names("Impression device", "Device platform", "device_platform", "impression_device"),
    "cost": _names(
        "Amount spent ({currency})", "Ausgegebener Betrag ({currency})", "Amount spent", "Ausgegebener Betrag", "spend"
    ),
    "impressions": _names("Impressions", "Impressionen"),
    "clicks": _names(  # link clicks lead to the shop; all clicks count likes and opened pictures too
        "Link clicks",
        "Link-Klicks",
        "Klicks auf Links",
        "inline_link_clicks",
        "Clicks (all)",
        "Klicks (alle)",
        "clicks",
    ),
    "conversions": _names("Purchases", "Käufe", "Website purchases", "Website-Käufe", "Conversions"),
    "conversion_value": _names(
        "Purchases conversion value",
        "Purchase conversion value",
        "Website purchases conversion value",
        "Conversion value",
        "Conversion-Wert",
    ),
    "currency": _names("Currency", "Währung", "account_currency"),
}

GA4: Names = {
    "date": _names("Date", "Datum", "date"),
    "geo": _names("Region", "Country", "Land"),
    "value": _names(
        "Total revenue",
        "Gesamtumsatz",
        "totalRevenue",
        "total_revenue",
        "Purchase revenue",
        "purchaseRevenue",
        "purchase_revenue",
    ),
    "orders": _names(
        "Transactions",
        "Transaktionen",
        "Ecommerce purchases",
        "E-Commerce-Käufe",
        "ecommercePurchases",
        "ecommerce_purchases",
        "Purchases",
    ),
}

SHOPIFY_ORDERS: Names = {
    # Not `Id`: spreadsheets save its thirteen digits as 5.12E+12, and then all orders are one.
    "order_id": _names("Name", "Order name", "order_name", "Order", "Id"),
    "customer_id": {
        **_names("Customer ID", "customer.id", "customer_id"),
        **_names("Email", "contact_email", then="hash"),
    },
    "ordered_at": _names("Created at", "created_at", "Processed at", "processed_at"),
    "revenue": _names("Subtotal", "subtotal_price"),
    "currency": _names("Currency"),
    "country": _names(
        "Shipping Country",
        "Billing Country",
        "shipping_address.country_code",
        "billing_address.country_code",
    ),
    "refunded_at": _names("Cancelled at", "cancelled_at"),
    "refunded": _names("Refunded Amount", "refunded_amount"),
}
