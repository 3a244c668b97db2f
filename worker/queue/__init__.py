"""The queue of one account: from accepting a request to settling its last item."""
