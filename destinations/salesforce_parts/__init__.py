"""The parts of the Salesforce adapter, from the settings up to the check of a mapping.

settings      what `[destinations.NAME]` may say
login         tokens: asked for, shared by the threads, renewed once
client        requests under `/services/data`, over the vendor's library on our transport
description   what the org says of its objects and fields
soql          look-ups of record Ids by another field
collections   up to 200 records per request, and what each answer means
checking      a mapping held against the org's own description
"""
