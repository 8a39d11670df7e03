import json

from django.http import JsonResponse
from django.views.decorators.http import require_http_methods

from .models import Note


def up(request):
    return JsonResponse("up", safe=False)


@require_http_methods(["GET", "POST"])
def notes(request):
    if request.method == "POST":
        Note.objects.create(text=json.loads(request.body)["text"])
        return JsonResponse("created", safe=False, status=201)
    return JsonResponse(list(Note.objects.order_by("id").values_list("text", flat=True)), safe=False)
