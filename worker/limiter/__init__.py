"""The call limit of one account: who may call the API when, over all workers."""
