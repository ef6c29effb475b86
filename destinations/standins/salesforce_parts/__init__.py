"""The parts of the Salesforce stand-in: fields and their rules, records, queries, tokens."""
