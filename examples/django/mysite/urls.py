from django.urls import path

from notes import views

urlpatterns = [path("up", views.up), path("notes", views.notes)]
